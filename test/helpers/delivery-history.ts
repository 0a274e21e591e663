import { hash } from 'node:crypto';
import { decodeKeyBuffer, type JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';

/** One request of one application, and what came of it. Holds a digest, never a key. */
export interface HistoryEntry {
  readonly op: 'GET_KEY' | 'OPEN_CONNECT';
  /** Who asked, over all the streams that it has had. */
  readonly application: string;
  readonly ksid: string;
  /** Which application of the stream: 0 at the source's node, 1 at the destination's. */
  readonly end: 0 | 1;
  /** When it was sent and when its answer was there, milliseconds of one clock. */
  readonly sentMs: number;
  readonly answeredMs: number;
  /** ETSI 004 status; undefined where no answer came. */
  readonly status: number | undefined;
  readonly message: string;
  readonly index?: number | undefined;
  /** SHA-256 of the key. */
  readonly digest?: string | undefined;
  readonly keyBytes?: number | undefined;
}

/** What a history keeps of an answer with a key; no digest of one that is not of the agreed size, which `breaches` then misses. */
export function keyIn(
  { key_buffer, index }: JsonAnswer,
  keyBytes: number,
): Pick<HistoryEntry, 'index' | 'digest' | 'keyBytes'> {
  try {
    const key = decodeKeyBuffer(key_buffer, keyBytes);
    const digest = hash('sha256', key, 'hex');
    key.fill(0);
    return { index, digest, keyBytes };
  } catch {
    return { index };
  }
}

/**
 * All that two ends must never do, looked for in a history of both. Gives one
 * line for each breach; none means that the history is sound.
 *
 * Looked for: two keys at one index; an index given twice at one end; indexes
 * that go back at one end; a key that serves two indexes or streams; a key of a
 * wrong size; a refusal without words.
 *
 * @param mayGoBack whether an application of the stream names indexes, so that they need not grow.
 */
export function breaches(
  history: readonly HistoryEntry[],
  keyBytes: number,
  mayGoBack: (ksid: string) => boolean = () => false,
): string[] {
  const found: string[] = [];
  const digestAt = new Map<string, string>();
  const placeOf = new Map<string, string>();
  const lastIndex = new Map<string, number>();
  const given = new Set<string>();
  for (const entry of inOrderOfAnswers(history)) {
    const { ksid, end, index, digest } = entry;
    if (entry.status === undefined) continue;
    if (entry.status !== 0) {
      if (entry.message === '') found.push(`${ksid} end ${end}: status ${entry.status} without a word`);
      continue;
    }
    if (entry.op !== 'GET_KEY') continue;
    const place = `${ksid} index ${index}`;
    if (index === undefined || digest === undefined) {
      found.push(`${place} end ${end}: status 0 without a key or an index`);
      continue;
    }
    if (entry.keyBytes !== keyBytes)
      found.push(`${place} end ${end}: ${entry.keyBytes} bytes, not ${keyBytes}`);
    if (given.has(`${place}/${end}`)) found.push(`${place} end ${end}: given twice`);
    given.add(`${place}/${end}`);
    const last = lastIndex.get(`${ksid}/${end}`) ?? -1;
    if (index < last && !mayGoBack(ksid)) found.push(`${place} end ${end}: after index ${last}`);
    lastIndex.set(`${ksid}/${end}`, Math.max(index, last));
    const other = digestAt.get(place);
    if (other !== undefined && other !== digest) found.push(`${place}: two different keys`);
    digestAt.set(place, digest);
    const earlier = placeOf.get(digest);
    if (earlier !== undefined && earlier !== place) found.push(`${place}: the key of ${earlier}`);
    placeOf.set(digest, place);
  }
  return found;
}

/** Keys that were given at both ends, and those of which only one end was told. */
export function countDeliveries(history: readonly HistoryEntry[]): { both: number; alone: number } {
  const ends = new Map<string, Set<number>>();
  for (const { op, status, ksid, index, end } of history) {
    if (op !== 'GET_KEY' || status !== 0) continue;
    const place = `${ksid}/${index}`;
    ends.set(place, (ends.get(place) ?? new Set()).add(end));
  }
  const both = [...ends.values()].filter((set) => set.size === 2).length;
  return { both, alone: ends.size - both };
}

/**
 * How long after `fromMs` the last trouble of any application was over: the
 * first success after its last request that failed or brought no answer.
 * Undefined when nobody has asked since, or some application that did has not
 * succeeded by the end of the history.
 */
export function recoveryMs(history: readonly HistoryEntry[], fromMs: number): number | undefined {
  const recoveredAt = new Map<string, number | undefined>();
  for (const entry of inOrderOfAnswers(history)) {
    if (entry.op !== 'GET_KEY' || entry.answeredMs < fromMs) continue;
    const { application } = entry;
    if (entry.status !== 0) recoveredAt.set(application, undefined);
    else if (recoveredAt.get(application) === undefined) recoveredAt.set(application, entry.answeredMs);
  }
  const times = [...recoveredAt.values()];
  if (times.length === 0 || times.includes(undefined)) return undefined;
  return Math.max(...(times as number[])) - fromMs;
}

function inOrderOfAnswers(history: readonly HistoryEntry[]): HistoryEntry[] {
  return history.toSorted((a, b) => a.answeredMs - b.answeredMs);
}
