import { DeliveredKey } from './delivered-key.ts';
import type { CallOptions, KeyStream, StreamHandle } from './key-stream.ts';
import { failed, KeyStreamError } from './key-stream-error.ts';
import { type Persistence, persist } from './persistence.ts';
import { DEFAULT_TIMEOUT_MS, type QualityOfService } from './quality-of-service.ts';
import type { CallLimit, KeyAnswer, Line } from './transports/line.ts';

/** Highest index of a key: the one above it asks for the next one. */
const LAST_INDEX = 0xffff_fffe;

/** Keys that one `next` wipes at most on its way to where it was told to go on. */
const MAX_SKIPPED = 65_536;

/** Longest wait for the CLOSE of a stream that nobody waits for. */
const DISPOSE_LIMIT_MS = 5_000;

const UNKNOWN_STREAM = 3;

export interface CallTimes {
  readonly connectMs: number;
  /** Beyond what the node may wait, milliseconds. */
  readonly marginMs: number;
}

export interface NodeStreamOptions extends StreamHandle {
  readonly line: Line;
  readonly adjusted: string | undefined;
  readonly times: CallTimes;
  readonly persistence: Persistence;
  /** Called once, when this end is over. */
  readonly onEnd: () => void;
}

/** The limit of a call for which the node may wait as long as the QoS says. */
export function limitOf(
  { connectMs, marginMs }: CallTimes,
  { timeoutMs }: QualityOfService,
  signal: AbortSignal | undefined,
): CallLimit {
  return { connectMs, answerMs: (timeoutMs || DEFAULT_TIMEOUT_MS) + marginMs, signal };
}

/** A stream over a line to its node. */
export class NodeStream implements KeyStream {
  readonly ksid: string;
  readonly qos: QualityOfService;
  readonly adjusted: string | undefined;
  readonly #o: NodeStreamOptions;
  readonly #over = new AbortController();
  #position: number;
  /** Keys below it are wiped unread. */
  #from: number;
  #lostAnswers = 0;
  /** Whether a key has come: until then status 3 may mean that the other application is on its way. */
  #isMet: boolean;
  /** The call that is under way, after which the next one has its turn. */
  #last: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  constructor(options: NodeStreamOptions) {
    this.#o = options;
    this.ksid = options.ksid;
    this.qos = options.qos;
    this.adjusted = options.adjusted;
    this.#position = options.position;
    this.#from = options.position;
    this.#isMet = options.position > 0;
  }

  get position(): number {
    return this.#position;
  }

  get lostAnswers(): number {
    return this.#lostAnswers;
  }

  next({ signal }: CallOptions = {}): Promise<DeliveredKey> {
    return this.#inTurn(async () => {
      for (let skipped = 0; skipped <= MAX_SKIPPED; skipped++) {
        const key = await this.#fetch(undefined, signal);
        if (key.index >= this.#from) {
          this.#position = Math.max(this.#position, key.index + 1);
          return key;
        }
        key.wipe();
      }
      throw failed('BAD_ANSWER', 'GET_KEY', `${MAX_SKIPPED} keys came below index ${this.#from}`);
    });
  }

  at(index: number, { signal }: CallOptions = {}): Promise<DeliveredKey> {
    return this.#inTurn(async () => {
      assertIndex(index);
      const key = await this.#fetch(index, signal);
      if (key.index === index) return key;
      key.wipe();
      const what = `index ${index} was asked for, and ${key.index} came`;
      throw failed('BAD_ANSWER', 'GET_KEY', what, { mayHaveActed: true });
    });
  }

  skipTo(index: number): void {
    assertIndex(index);
    if (index - this.#position > MAX_SKIPPED) {
      const what = `index ${index} is more than ${MAX_SKIPPED} ahead of ${this.#position}: open another stream`;
      throw failed('BAD_OPTIONS', 'GET_KEY', what);
    }
    this.#from = Math.max(this.#from, index);
    this.#position = Math.max(this.#position, index);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<DeliveredKey, undefined> {
    for (;;) {
      let key: DeliveredKey;
      try {
        key = await this.next();
      } catch (thrown) {
        if (thrown instanceof KeyStreamError && thrown.code === 'CLOSED') return undefined;
        throw thrown;
      }
      yield key;
    }
  }

  detach(): StreamHandle {
    const { ksid, qos, position } = this;
    this.#end();
    return { ksid, qos, position };
  }

  close({ signal }: CallOptions = {}): Promise<void> {
    this.#closing ??= this.#close(signal);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ signal: AbortSignal.timeout(DISPOSE_LIMIT_MS) }).catch(() => undefined);
  }

  async #close(signal: AbortSignal | undefined): Promise<void> {
    // Detached before: it is no longer this end's to close.
    if (this.#over.signal.aborted) return;
    this.#over.abort(closedError());
    await this.#last;
    const { line, times, persistence } = this.#o;
    const attempt = async (before: KeyStreamError | undefined) => {
      try {
        await line.close(this.ksid, { ...times, answerMs: times.marginMs, signal });
      } catch (thrown) {
        // The attempt before has closed it, and its answer was lost.
        const isDone = thrown instanceof KeyStreamError && thrown.status === UNKNOWN_STREAM;
        if (!isDone || !before?.mayHaveActed) throw thrown;
      }
    };
    try {
      await persist(persistence, attempt, (failure) => this.#worthMs(failure), signal);
    } finally {
      this.#end();
    }
  }

  /** One after the other, whatever became of those before. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(() => {
      this.#over.signal.throwIfAborted();
      return act();
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #fetch(index: number | undefined, signal: AbortSignal | undefined): Promise<DeliveredKey> {
    const { line, times, persistence } = this.#o;
    const over = this.#over.signal;
    const either = signal === undefined ? over : AbortSignal.any([signal, over]);
    const limit = limitOf(times, this.qos, either);
    const attempt = async () => {
      either.throwIfAborted();
      try {
        return await line.getKey({ ksid: this.ksid, index, qos: this.qos }, limit);
      } catch (thrown) {
        const isLost = thrown instanceof KeyStreamError && thrown.mayHaveActed;
        // An application that gives a call up does not know either.
        if (isLost || (either.aborted && thrown === either.reason)) this.#lostAnswers += 1;
        throw thrown;
      }
    };
    const answer = await persist(persistence, attempt, (failure) => this.#worthMs(failure), either);
    this.#isMet = true;
    return new DeliveredKey(this.#indexOf(answer, index), answer.key, answer.metadata);
  }

  /** Nodes that tell no index give the keys of a stream in order: it is counted, as long as none can have been lost. */
  #indexOf({ index, key }: KeyAnswer, asked: number | undefined): number {
    if (index !== undefined && index >= 0 && index <= LAST_INDEX) return index;
    if (index === undefined && asked === undefined && this.#lostAnswers === 0) return this.#position;
    key.wipe();
    const what = 'the node tells no index, and which key this is cannot be known';
    throw failed('BAD_ANSWER', 'GET_KEY', what, { mayHaveActed: true });
  }

  /** How long a failure is worth another attempt, milliseconds. */
  #worthMs({ call, status, retryable, reason }: KeyStreamError): number {
    const { forMs } = this.#o.persistence;
    if (status === undefined) return retryable ? forMs : 0;
    const mayBeAbsent = status === UNKNOWN_STREAM && reason !== 'UNKNOWN_STREAM';
    const isAwaited = call === 'GET_KEY' && mayBeAbsent && !this.#isMet;
    return isAwaited && forMs > 0 ? this.qos.timeoutMs || DEFAULT_TIMEOUT_MS : 0;
  }

  #end(): void {
    this.#over.abort(closedError());
    this.#o.line.end();
    this.#o.onEnd();
  }
}

function closedError(): KeyStreamError {
  return failed('CLOSED', 'GET_KEY', 'the stream has been closed');
}

function assertIndex(index: number): void {
  if (Number.isInteger(index) && index >= 0 && index <= LAST_INDEX) return;
  const what = `an index is a whole number from 0 to ${LAST_INDEX}, not ${index}`;
  throw failed('BAD_OPTIONS', 'GET_KEY', what);
}
