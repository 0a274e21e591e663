import { setTimeout as pause } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { askBoth } from './asking.ts';
import type { HistoryEntry } from './delivery-history.ts';
import { Etsi004Client, openStream } from './etsi004-client.ts';
import type { Pair } from './network.ts';
import { waitedMs } from './proc.ts';
import type { SteadyPair, SteadyReport } from './steady-readers.ts';

/** How often the thread looks whether it and the services are run in time. */
const TICK_MS = 10;
const SAMPLE_MS = 50;

/** What takes longer is looked at more closely. */
const SUSPECT_MS = 100;

const { pairs, everyMs, pids } = workerData as { pairs: SteadyPair[]; everyMs: number; pids: number[] };
const port = parentPort as NonNullable<typeof parentPort>;

let entries: HistoryEntry[] = [];
/** Times in which this thread was not run. */
let gaps: { fromMs: number; toMs: number }[] = [];
let lastTickMs = Date.now();
/** What all services together have waited for a processor so far. */
let waits: { atMs: number; waitedMs: number }[] = [];
let stopping = false;
/** Since when each stream's ends have been asked and not both have answered. */
const askedMs = new Map<string, number>();

const ticking = setInterval(() => {
  const nowMs = Date.now();
  if (nowMs - lastTickMs > 2 * TICK_MS) gaps.push({ fromMs: lastTickMs + TICK_MS, toMs: nowMs });
  lastTickMs = nowMs;
}, TICK_MS);

const sampling = setInterval(() => waits.push({ atMs: Date.now(), waitedMs: waitedMs(pids) }), SAMPLE_MS);

async function opened({ source, destination, data }: SteadyPair): Promise<Pair> {
  const [a, b] = await Promise.all([Etsi004Client.connect(source), Etsi004Client.connect(destination)]);
  const [{ ksid }] = await Promise.all([openStream(a, data), openStream(b, data)]);
  const close = async () => {
    await Promise.all([a.close(ksid), b.close(ksid)].map((closing) => closing.catch(() => undefined)));
    a.disconnect();
    b.disconnect();
  };
  return { a, b, ksid, opened: [] as never, close };
}

async function read(pair: Pair): Promise<void> {
  while (!stopping) {
    const next = pause(everyMs);
    askedMs.set(pair.ksid, Date.now());
    try {
      await askBoth(entries, pair);
    } catch (error) {
      // The connection is gone: that this end got no answer is what the history says.
      const nowMs = Date.now();
      const lost = {
        op: 'GET_KEY',
        application: 'steady',
        ksid: pair.ksid,
        end: 0,
        sentMs: nowMs,
        answeredMs: nowMs,
      } as const;
      entries.push({ ...lost, status: undefined, message: String(error) });
      return;
    } finally {
      askedMs.delete(pair.ksid);
    }
    await next;
  }
  await pair.close();
}

/**
 * Milliseconds that an answer took, less those in which this thread or a
 * service was ready and others had the processors: a machine that is busy is
 * no fault of the services, one that waits for another's work is.
 */
function durationMs(sentMs: number, answeredMs: number): number {
  const whole = answeredMs - sentMs;
  if (whole < SUSPECT_MS) return whole;
  const away = gaps.map(({ fromMs, toMs }) =>
    Math.max(0, Math.min(toMs, answeredMs) - Math.max(fromMs, sentMs)),
  );
  const first = waits.findLast(({ atMs }) => atMs <= sentMs) ?? waits[0];
  const last = waits.find(({ atMs }) => atMs >= answeredMs) ?? waits.at(-1);
  const starved = (last?.waitedMs ?? 0) - (first?.waitedMs ?? 0);
  return Math.max(0, Math.round(whole - starved - away.reduce((sum, ms) => sum + ms, 0)));
}

function report(): SteadyReport {
  let longest: SteadyReport['longest'] = { ms: 0, wholeMs: 0, ksid: '', end: 0 };
  const look = (ksid: string, end: 0 | 1, sentMs: number, answeredMs: number) => {
    const ms = durationMs(sentMs, answeredMs);
    if (ms > longest.ms) longest = { ms, wholeMs: answeredMs - sentMs, ksid, end };
  };
  for (const { ksid, end, sentMs, answeredMs } of entries) look(ksid, end, sentMs, answeredMs);
  // What has no answer yet has lasted for so long at least.
  for (const [ksid, sentMs] of askedMs) look(ksid, 0, sentMs, Date.now());
  const told = { entries, longest };
  entries = [];
  gaps = [];
  // An answer that is still out looks back to where its question was.
  waits = waits.slice(-1_000);
  return told;
}

const streams = await Promise.all(pairs.map(opened));
port.postMessage({ ksids: streams.map(({ ksid }) => ksid) });
const reading = Promise.all(streams.map(read));
port.on('message', async (order: 'report' | 'stop') => {
  if (order === 'stop') {
    stopping = true;
    await reading;
    clearInterval(ticking);
    clearInterval(sampling);
  }
  port.postMessage(report());
  if (order === 'stop') port.close();
});
