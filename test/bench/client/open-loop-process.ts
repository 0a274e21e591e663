import { assertSameKey, type BenchStream, closeStream, openStream, type StreamKind } from './bench-stream.ts';
import type { LoadClient } from './load-client.ts';
import { type PacerKind, pace, steadyMs } from './pacer.ts';

/**
 * The applications of an open-loop measurement, in a process that does nothing
 * else. Keys fall due at a fixed rate, one stream after the other, whether or
 * not those before them have come; then both ends ask. What an end cannot ask
 * yet, since its last question is not answered, waits in its queue, and its
 * time runs from when it was due.
 */
export interface OpenLoopOrder {
  readonly kind: StreamKind;
  readonly streams: number;
  /** Keys a second of all streams together. */
  readonly rate: number;
  readonly warmUpMs: number;
  readonly measuredMs: number;
  readonly pacer: PacerKind;
}

/** Of the keys that fell due while it was measured, in the order of their falling due; milliseconds. */
export interface OpenLoopResult {
  /** From due until both ends had the key. */
  readonly latencies: readonly number[];
  /** From due until this process asked at both ends, of those that were not queued: its own lateness. */
  readonly lateness: readonly number[];
  /** From asking to both answers, of the same. */
  readonly service: readonly number[];
  /** Keys that fell due before their predecessor had come. */
  readonly queued: number;
}

/** Half of the warm-up is over; all of it; every measured key has come. */
export type OpenLoopMessage =
  | { readonly type: 'warm' }
  | { readonly type: 'measuring' }
  | { readonly type: 'done'; readonly result: OpenLoopResult };

/** What a key may take before the measurement is given up. */
const DRAIN_LIMIT_MS = 60_000;

interface Key {
  readonly dueMs: number;
  /** Which one of the measured keys; negative while the services warm up. */
  readonly place: number;
  /** Not all ends could be asked as it fell due. */
  isQueued: boolean;
  askedMs: number;
  first: string | undefined;
}

/** The application at one end of one stream. */
class Application {
  readonly #client: LoadClient;
  readonly #get: string;
  readonly #answered: (key: Key, answer: string) => void;
  readonly #queue: Key[] = [];
  #current: Key | undefined;

  constructor(client: LoadClient, get: string, answered: (key: Key, answer: string) => void) {
    this.#client = client;
    this.#get = get;
    this.#answered = answered;
  }

  due(key: Key): void {
    if (this.#current === undefined) this.#ask(key);
    else {
      key.isQueued = true;
      this.#queue.push(key);
    }
  }

  #ask(key: Key): void {
    this.#current = key;
    key.askedMs = steadyMs();
    this.#client.ask(this.#get, this.#receive, fail);
  }

  readonly #receive = (answer: string) => {
    const key = this.#current as Key;
    this.#current = undefined;
    const next = this.#queue.shift();
    if (next) this.#ask(next);
    this.#answered(key, answer);
  };
}

function fail(error: Error): never {
  throw error;
}

async function run(order: OpenLoopOrder, tell: (message: OpenLoopMessage) => Promise<void>): Promise<void> {
  const streams: BenchStream[] = [];
  for (let i = 0; i < order.streams; i++) streams.push(await openStream(order.kind));

  const everyMs = 1000 / order.rate;
  const warmUp = Math.round(order.warmUpMs / everyMs);
  const count = warmUp + Math.round(order.measuredMs / everyMs);
  const latencies = new Array<number>(count - warmUp).fill(0);
  const lateness: number[] = [];
  const service: number[] = [];
  let queued = 0;
  let open = count;
  const drained = Promise.withResolvers<void>();

  const answered = (key: Key, answer: string) => {
    if (key.first === undefined) {
      key.first = answer;
      return;
    }
    const nowMs = steadyMs();
    assertSameKey(key.first, answer);
    if (key.place >= 0) {
      latencies[key.place] = nowMs - key.dueMs;
      if (key.isQueued) queued += 1;
      else {
        lateness.push(key.askedMs - key.dueMs);
        service.push(nowMs - key.askedMs);
      }
    }
    if (--open === 0) drained.resolve();
  };
  const ends = streams.map(({ a, b, get }) => [
    new Application(a, get, answered),
    new Application(b, get, answered),
  ]);

  await pace(order.pacer, { startMs: steadyMs() + 100, everyMs, count }, (i, dueMs) => {
    if (i === Math.floor(warmUp / 2)) void tell({ type: 'warm' });
    if (i === warmUp) void tell({ type: 'measuring' });
    const key: Key = { dueMs, place: i - warmUp, isQueued: false, askedMs: 0, first: undefined };
    for (const end of ends[i % ends.length] as Application[]) end.due(key);
  });
  const limit = setTimeout(() => {
    drained.reject(new Error(`${open} keys have not come within ${DRAIN_LIMIT_MS} ms`));
  }, DRAIN_LIMIT_MS);
  await drained.promise;
  clearTimeout(limit);
  await tell({ type: 'done', result: { latencies, lateness, service, queued } });
  for (const stream of streams) await closeStream(stream);
}

const [, , text] = process.argv;
if (process.send && text !== undefined) {
  // What is not written yet when the channel closes is lost.
  const tell = (message: OpenLoopMessage) =>
    new Promise<void>((resolve) => process.send?.(message, () => resolve()));
  await run(JSON.parse(text) as OpenLoopOrder, tell);
  process.disconnect?.();
}
