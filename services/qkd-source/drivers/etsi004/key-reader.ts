import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import { decodeKeyBuffer } from '#common/etsi/etsi004-json-codec.ts';
import { indexOf, type KmeAnswer } from './etsi004-dialect.ts';

/** Collects the keys of one fetch in order and knows whether any may have been lost. */
export class KeyReader {
  readonly #keys: Buffer;
  readonly #keyBytes: number;
  readonly #first: bigint;
  #sent = 0;
  #answered = 0;
  #refused = 0;
  #count = 0;
  #dry = false;
  #misfit = false;

  /**
   * Fills `keys`, which stays the caller's, with keys of `keyBytes` each.
   *
   * @param first number of the first key that is asked for.
   */
  constructor(keys: Buffer, keyBytes: number, first = 0n) {
    this.#keys = keys;
    this.#keyBytes = keyBytes;
    this.#first = first;
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
  accept(answer: KmeAnswer): void {
    const index = indexOf(this.#first + BigInt(this.#answered++));
    if (answer.status !== ETSI004_STATUS.SUCCESS) {
      this.#refused += 1;
      this.#dry ||= answer.status === ETSI004_STATUS.INSUFFICIENT_KEY;
      if (answer.status === ETSI004_STATUS.INSUFFICIENT_KEY) return;
      const detail = `the key manager refuses GET_KEY with status ${answer.status}`;
      throw new KeyweaveError('QKD_UNAVAILABLE', detail);
    }
    const key = this.#take(answer);
    const inSequence = !this.#dry && (answer.index ?? index) === index;
    if (inSequence) key.copy(this.#keys, this.#count++ * this.#keyBytes);
    key.fill(0);
    if (!inSequence)
      throw new KeyweaveError('QKD_OUT_OF_STEP', 'the key manager skipped a key, or gave another one');
  }

  #take(answer: KmeAnswer): Buffer {
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
export function takeKey(answer: Pick<KmeAnswer, 'key'>, keyBytes: number): Buffer {
  const { key } = answer;
  if (Buffer.isBuffer(key) && key.length === keyBytes) return key;
  try {
    return decodeKeyBuffer(key, keyBytes);
  } finally {
    wipeAnswer(answer);
  }
}

/** Wipes the key of an answer where it is a list or bytes; texts cannot be wiped. */
export function wipeAnswer({ key }: { readonly key?: unknown }): void {
  if (Array.isArray(key) || Buffer.isBuffer(key)) key.fill(0);
}
