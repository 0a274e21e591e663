import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { holdingsBy, type ObservedStream } from './holdings.ts';

const stream = (farNode: string, local: string, peer: string, holds: [number, number, number]) => {
  const [size, coming, waiting] = holds;
  const of: object = {
    ...{ local, peer, route: { farNode } },
    buffer: { size, waiting },
    producer: { coming },
  };
  return of as ObservedStream;
};

describe('holdingsBy', () => {
  it('sums what the streams of each group hold, and counts those that both ends have joined', () => {
    const streams = [
      stream('b', 'joined', 'joined', [3, 2, 1]),
      stream('b', 'joined', 'absent', [10, 20, 30]),
      stream('b', 'closed', 'joined', [0, 0, 0]),
      stream('c', 'joined', 'joined', [5, 0, 0]),
    ];
    assert.deepEqual(
      holdingsBy(streams, ({ route }) => route.farNode),
      new Map([
        ['b', { open: 3, joined: 1, buffered: 13, coming: 22, waiting: 31 }],
        ['c', { open: 1, joined: 1, buffered: 5, coming: 0, waiting: 0 }],
      ]),
    );
  });
});
