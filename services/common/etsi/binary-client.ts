import type { Socket } from 'node:net';
import { AnswerClient, type AnswerReader } from '#common/etsi/answer-client.ts';
import {
  BINARY_ANSWER_LENGTHS,
  type BinaryAnswer,
  readBinaryAnswer,
} from '#common/etsi/etsi004-binary-answers.ts';
import { BinaryFramer } from '#common/etsi/etsi004-binary-framer.ts';

const MAX_PAYLOAD_BYTES = Math.max(...[...BINARY_ANSWER_LENGTHS.values()].map(([, most]) => most));

/** The client's end of a connection that speaks the binary protocol of ETSI's reference. */
export class BinaryClient extends AnswerClient<BinaryAnswer> {
  /** Takes over a connected socket. */
  constructor(socket: Socket) {
    super(socket, new BinaryAnswers());
  }
}

/** Finds answers of the binary protocol. */
export class BinaryAnswers implements AnswerReader<BinaryAnswer> {
  readonly #framer = new BinaryFramer({ maxBytes: MAX_PAYLOAD_BYTES, lengths: BINARY_ANSWER_LENGTHS });

  get pending(): number {
    return this.#framer.pending;
  }

  get end(): number {
    return this.#framer.end;
  }

  next(segment: Buffer, from: number): { answer: BinaryAnswer } | { error: Error } | undefined {
    const frame = this.#framer.next(segment, from);
    if (frame === undefined) return undefined;
    if ('error' in frame) return { error: new Error(`an answer of type ${frame.type} is ${frame.error}`) };
    try {
      return { answer: readBinaryAnswer(frame.type, frame.payload) };
    } catch (error) {
      return { error: error as Error };
    }
  }

  stop(): void {
    this.#framer.stop();
  }
}
