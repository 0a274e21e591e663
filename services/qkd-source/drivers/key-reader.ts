import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import { decodeKeyBuffer, type JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';

/** Collects the keys of one fetch in order and knows whether any may have been lost. */
export class KeyReader {
  readonly #keys: Buffer;
  readonly #keyBytes: number;
  #sent = 0;
  #refused = 0;
  #count = 0;
  #dry = false;
  #misfit = false;

  /** Fills `keys`, which stays the caller's, with keys of `keyBytes` each. */
  constructor(keys: Buffer, keyBytes: number) {
    this.#keys = keys;
    this.#keyBytes = keyBytes;
  }

  /** Keys read so far. */
  get count(): number {
    return this.#count;
  }

  /** Whether the key manager has run dry. */
  get dry(): boolean {
    return this.#dry;
  }

  /** Whether an answer held something else than a key of the agreed size. */
  get misfit(): boolean {
    return this.#misfit;
  }

  /** Notes that a GET_KEY is about to be sent. */
  sent(): void {
    this.#sent += 1;
  }

  /**
   * Takes the key of the next answer and wipes it there.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE or QKD_OUT_OF_STEP for anything but a key or status 2.
   */
  accept(answer: JsonAnswer): void {
    if (answer.status !== ETSI004_STATUS.SUCCESS) {
      this.#refused += 1;
      this.#dry ||= answer.status === ETSI004_STATUS.INSUFFICIENT_KEY;
      if (answer.status === ETSI004_STATUS.INSUFFICIENT_KEY) return;
      const detail = `the key manager refuses GET_KEY with status ${answer.status}`;
      throw new KeyweaveError('QKD_UNAVAILABLE', detail);
    }
    const key = this.#take(answer);
    const inSequence = !this.#dry;
    if (inSequence) key.copy(this.#keys, this.#count++ * this.#keyBytes);
    key.fill(0);
    if (!inSequence) throw new KeyweaveError('QKD_OUT_OF_STEP', 'the key manager skipped a key');
  }

  #take(answer: JsonAnswer): Buffer {
    try {
      return takeKey(answer, this.#keyBytes);
    } catch (error) {
      this.#misfit = true;
      throw error;
    }
  }

  /** The error to throw: only when every request was refused is it sure that no key has gone. */
  failure(cause: unknown): KeyweaveError {
    const detail = cause instanceof KeyweaveError ? cause.detail : 'the key manager did not answer';
    const reason = this.#sent === this.#refused ? 'QKD_UNAVAILABLE' : 'QKD_OUT_OF_STEP';
    return new KeyweaveError(reason, detail, { cause });
  }
}

/** The key of an answer, wiped there; the caller wipes the result. @throws KeyweaveError QKD_UNAVAILABLE for anything but `keyBytes` bytes. */
export function takeKey(answer: JsonAnswer, keyBytes: number): Buffer {
  try {
    return decodeKeyBuffer(answer.key_buffer, keyBytes);
  } finally {
    wipeAnswer(answer);
  }
}

/** Wipes the key of an answer where it is a list; texts cannot be wiped. */
export function wipeAnswer(answer: { key_buffer?: unknown }): void {
  if (Array.isArray(answer.key_buffer)) answer.key_buffer.fill(0);
}
