import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/**
 * A name from the command line, which must be one of those that there are.
 *
 * @throws KeyweaveError BAD_REQUEST naming it and all that there are.
 */
export function parseServiceName<N extends string>(name: string, names: readonly N[]): N {
  const found = names.find((each) => each === name);
  if (found !== undefined) return found;
  throw new KeyweaveError(
    'BAD_REQUEST',
    `there is no service ${JSON.stringify(name)}; there are ${names.join(', ')}`,
  );
}
