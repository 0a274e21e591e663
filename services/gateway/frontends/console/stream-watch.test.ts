import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { streamHash } from '#common/ids/stream-hash.ts';
import type { ObservedStream } from '../../streams/held/holdings.ts';
import { slotOf } from '../../streams/stream-terms.ts';
import { StreamWatch } from './stream-watch.ts';

const KSID = 'f0e1d2c3-b4a5-4697-8879-6a5b4c3d2e1f';

/** What of a stream is looked at, with an application whose name nobody may learn. */
function stream(id = KSID, peer: 'joined' | 'absent' = 'joined'): ObservedStream {
  const of: object = {
    ...{ id, role: 'initiator', local: 'joined', peer, owner: undefined },
    route: { nextHop: 'b', farNode: 'b', hops: 0 },
    terms: {
      ...{ source: 'hybrid://planted@a', destination: 'hybrid://planted@b' },
      ...{ method: { name: 'xoring' }, slots: ['ML-KEM-768', 'QKD'].map((name) => slotOf(name)) },
    },
    ...{ buffer: { size: 3, waiting: 1 }, producer: { coming: 2 } },
  };
  return of as ObservedStream;
}

describe('the watch over streams', () => {
  it('tells what a stream holds and has delivered, by its hash', () => {
    const one = stream();
    const watch = new StreamWatch(() => [one]);
    watch.released(one, 0, 5);
    watch.delivered(one);
    watch.delivered(one);
    const { shown, total, peers } = watch.now();
    assert.equal(total, 1);
    assert.deepEqual(shown, [
      {
        ...{ stream: streamHash(KSID), peer: 'b', role: 'initiator', method: 'xoring' },
        ...{ sources: ['ML-KEM-768', 'QKD'], here: 'joined', there: 'joined' },
        ...{ ready: 3, coming: 2, waiting: 1, delivered: 2 },
      },
    ]);
    assert.deepEqual(peers.get('b'), {
      ...{ streams: 1, joined: 1, ready: 3, coming: 2, waiting: 1, delivered: 2, made: 5 },
    });
    assert.doesNotMatch(JSON.stringify(watch.now()), new RegExp(`planted|${KSID}`));
  });

  it('shows the hundred that have delivered most, and counts all; totals outlive their streams', () => {
    const all = Array.from({ length: 150 }, (_, i) =>
      stream(`00000000-0000-4000-8000-${`${i}`.padStart(12, '0')}`),
    );
    const watch = new StreamWatch(() => all);
    const busiest = all[149] as ObservedStream;
    watch.delivered(busiest);
    const { shown, total } = watch.now();
    assert.deepEqual([total, shown.length, shown[0]?.stream], [150, 100, streamHash(busiest.id)]);
    all.length = 0;
    assert.deepEqual([watch.now().total, watch.now().peers.get('b')?.delivered], [0, 1]);
  });

  it('counts refusals by call and reason, and keeps no word of what was asked', () => {
    let wallMs = 1_000;
    const watch = new StreamWatch(
      () => [],
      () => wallMs,
    );
    const owner = { identity: 'planted', address: 'planted:1' };
    const refuse = (call: 'open' | 'getKey', error: KeyweaveError) => watch.refused({ call, owner, error });
    refuse('getKey', new KeyweaveError('UNKNOWN_STREAM', `there is no stream ${KSID}`));
    refuse('open', new KeyweaveError('NO_ROUTE', 'planted'));
    wallMs = 2_000;
    refuse('getKey', new KeyweaveError('UNKNOWN_STREAM', `there is no stream ${KSID}`));
    assert.deepEqual(watch.refusals, [
      { call: 'getKey', reason: 'UNKNOWN_STREAM', status: 3, total: 2, lastAt: 2_000 },
      { call: 'open', reason: 'NO_ROUTE', status: 4, total: 1, lastAt: 1_000 },
    ]);
  });
});
