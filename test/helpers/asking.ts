import assert from 'node:assert/strict';
import { type HistoryEntry, keyIn } from './delivery-history.ts';
import type { Pair } from './network.ts';

/** Asks one end of a stream for its next key, or the one at `index`, and notes what came of it; gives the status. */
export async function askEnd(
  history: HistoryEntry[],
  pair: Pair,
  end: 0 | 1,
  index?: number,
  keyBytes = 32,
): Promise<number> {
  const sentMs = Date.now();
  const answer = await (end === 0 ? pair.a : pair.b).getKey(pair.ksid, index);
  const { status, message = '' } = answer;
  history.push({
    op: 'GET_KEY',
    application: `${end}`,
    ksid: pair.ksid,
    end,
    sentMs,
    answeredMs: Date.now(),
    status,
    message,
    ...(status === 0 && keyIn(answer, keyBytes)),
  });
  return status;
}

/** Asks both ends at the same time; gives both statuses. */
export function askBoth(history: HistoryEntry[], pair: Pair): Promise<number[]> {
  return Promise.all([askEnd(history, pair, 0), askEnd(history, pair, 1)]);
}

/** Asks the end that is behind until both have been given the same newest index: where one was refused, what it lacks still comes. */
export async function meet(history: HistoryEntry[], pair: Pair): Promise<void> {
  const highest = (end: 0 | 1) =>
    Math.max(
      -1,
      ...history.filter((entry) => entry.end === end && entry.status === 0).map(({ index }) => index ?? -1),
    );
  for (let i = 0; i < 100 && highest(0) !== highest(1); i++) {
    await askEnd(history, pair, highest(0) < highest(1) ? 0 : 1);
  }
  assert.equal(highest(0), highest(1), 'the two ends do not meet');
}
