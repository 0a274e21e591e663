import { randomBytes, randomUUID } from 'node:crypto';

/** Where names that nobody can guess come from; a simulation brings its own. */
export interface Random {
  /** A UUID v4 in canonical text form. */
  uuid(this: void): string;
  bytes(this: void, count: number): Buffer;
}

/** The machine's generator. */
export const systemRandom: Random = Object.freeze({
  uuid: randomUUID,
  bytes: (count: number) => randomBytes(count),
});
