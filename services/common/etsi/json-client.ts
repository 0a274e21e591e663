import type { Socket } from 'node:net';
import { AnswerClient, type AnswerReader } from '#common/etsi/answer-client.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';

/** Largest answer: a 64 KiB key as a list of numbers. */
const MAX_ANSWER_BYTES = 512 * 1024;

/** The server sent what is no JSON, or more of it than any answer has. */
export class NotJsonError extends Error {}

/** The client's end of a connection that speaks JSON requests and answers. */
export class JsonClient extends AnswerClient<unknown> {
  /** Takes over a connected socket. */
  constructor(socket: Socket) {
    super(socket, new JsonAnswers());
  }
}

class JsonAnswers implements AnswerReader<unknown> {
  readonly #framer = new JsonFramer({ maxBytes: MAX_ANSWER_BYTES });

  get pending(): number {
    return this.#framer.pending;
  }

  get end(): number {
    return this.#framer.end;
  }

  next(segment: Buffer, from: number): { answer: unknown } | { error: Error } | undefined {
    const frame = this.#framer.next(segment, from);
    if (frame === undefined) return undefined;
    if (!Buffer.isBuffer(frame)) return { error: new NotJsonError('the answer is not JSON') };
    try {
      return { answer: decodeJson(frame) };
    } catch (cause) {
      return { error: new NotJsonError('the answer is not JSON', { cause }) };
    } finally {
      frame.fill(0);
    }
  }

  stop(): void {
    this.#framer.stop();
  }
}
