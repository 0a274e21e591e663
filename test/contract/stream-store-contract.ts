import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import type { PeerQuotas } from '../../services/gateway/store/peer-quotas.ts';
import type { StreamStore } from '../../services/gateway/store/stream-store.ts';
import type { KeyStream } from '../../services/gateway/streams/key-stream.ts';
import { directRoute } from '../../services/gateway/streams/route.ts';
import { ALICE, BOB, CAROL, keyStream } from '../helpers/streams.ts';

const DAY_S = 86_400;

export interface StoreSettings {
  readonly maxStreams: number;
  readonly quotas: PeerQuotas;
  readonly clock: FakeClock;
}

const OWNER = { identity: 'CN:alice', address: '127.0.0.1:50000' };

interface StreamChange {
  farNode?: string;
  nextHop?: string;
  ttlS?: number;
}

/** The `n`-th stream with a node, on the way over another one where that is given. */
function streamOf(n: number, { farNode = ALICE, ttlS = 0, ...by }: StreamChange = {}): KeyStream {
  const nextHop = by.nextHop ?? farNode;
  return keyStream({
    id: `11111111-1111-4111-8111-${String(n).padStart(12, '0')}`,
    route: { nextHop, farNode, hops: nextHop === farNode ? 0 : 1 },
    qos: { ttlS },
  });
}

/** What every store of streams must do. */
export function streamStoreContract(name: string, make: (settings: StoreSettings) => StreamStore): void {
  let clock: FakeClock;
  let store: StreamStore;

  const storeOf = (maxStreams: number, streams: number) =>
    make({ maxStreams, quotas: { streams, offers: 2, heldBytes: 1_000 }, clock });

  beforeEach(() => {
    clock = new FakeClock();
    store = storeOf(3, 2);
  });

  describe(`${name}: the streams that it holds`, () => {
    it('are found by their KSID until they are removed', () => {
      const [first, second] = [streamOf(1), streamOf(2)];
      assert.deepEqual([store.size, [...store.all()], store.get(first.id)], [0, [], undefined]);
      store.add(first);
      store.add(second);
      assert.deepEqual([store.size, new Set(store.all())], [2, new Set([first, second])]);
      assert.deepEqual([store.get(first.id), store.get(second.id)], [first, second]);
      store.remove(first);
      assert.deepEqual([store.size, [...store.all()], store.get(first.id)], [1, [second], undefined]);
    });

    it('have one stream of a KSID, and removing another of its name leaves it', () => {
      const [held, other] = [streamOf(1), streamOf(1, { farNode: CAROL })];
      store.add(held);
      assert.throws(
        () => store.add(other),
        (error) => isReason(error, 'KSID_IN_USE') && /key_stream_id 11111111… is in use/.test(`${error}`),
      );
      store.remove(other);
      assert.equal(store.get(held.id), held);
      store.remove(held);
      store.add(other);
      assert.equal(store.get(held.id), other);
    });

    it('may all be removed while they are gone through', () => {
      for (const n of [1, 2]) store.add(streamOf(n));
      for (const stream of store.all()) store.remove(stream);
      assert.equal(store.size, 0);
    });

    it('are as many as the node and the next node’s quota allow, each named, and a new one for each that goes', () => {
      const [first, second, third] = [streamOf(1), streamOf(2), streamOf(3, { farNode: CAROL })];
      store.add(first);
      store.add(second);
      assert.throws(
        () => store.add(streamOf(4)),
        (error) =>
          isReason(error, 'LIMIT_EXCEEDED') &&
          new RegExp(`limit of 2 .*with node ${ALICE} .*max_streams_per_peer`).test(`${error}`),
      );
      store.add(third);
      assert.throws(
        () => store.add(streamOf(4, { farNode: CAROL })),
        /LIMIT_EXCEEDED: .*limit of 3 open streams \(limits.max_streams\)/,
      );
      store.remove(third);
      store.remove(first);
      store.remove(first);
      store.add(streamOf(5));
      assert.throws(() => store.add(streamOf(6)), /max_streams_per_peer/);
    });

    it('count for the node through which they go, not for the one at their end', () => {
      store.add(streamOf(1, { farNode: CAROL, nextHop: ALICE }));
      store.add(streamOf(2, { farNode: BOB, nextHop: ALICE }));
      assert.throws(() => store.add(streamOf(3)), /max_streams_per_peer/);
      store.add(streamOf(4, { farNode: CAROL }));
    });

    it('are held to its limits, which it tells', () => {
      assert.equal(store.maxStreams, 3);
      assert.deepEqual(store.quotas, { streams: 2, offers: 2, heldBytes: 1_000 });
    });
  });

  describe(`${name}: the bytes that are held for a next node`, () => {
    it('are counted for each by itself, up to its quota', () => {
      store.heldFor(ALICE).change(600);
      assert.deepEqual(
        [ALICE, CAROL].map((node) => store.heldFor(node).room),
        [400, 1_000],
      );
      assert.equal(store.heldFor(ALICE), store.heldFor(ALICE));
    });
  });

  describe(`${name}: a stream's TTL (ETSI GS QKD 004 V2.1.1, Table 2)`, () => {
    let expired: [KeyStream, atS: number][];

    beforeEach(() => {
      expired = [];
      store.whenExpired((stream) => {
        expired.push([stream, clock.monotonicMs() / 1_000]);
        store.remove(stream);
      });
    });

    for (const [ttlS, livesS] of [
      [60, 60],
      [60 * DAY_S, 60 * DAY_S],
      [0xffffffff, 0xffffffff],
    ] as const) {
      it(`of ${ttlS} s ends it after ${livesS} s`, async () => {
        const stream = streamOf(1, { ttlS });
        store.add(stream);
        await clock.advance(livesS * 1_000 - 1);
        assert.deepEqual(expired, [], 'too early');
        await clock.advance(1);
        assert.deepEqual(expired, [[stream, livesS]]);
        assert.equal(store.size, 0);
      });
    }

    it('is over with the stream', async () => {
      const [gone, stays] = [streamOf(1, { ttlS: 60 }), streamOf(1, { ttlS: 90 })];
      store.add(gone);
      await clock.advance(30_000);
      store.remove(gone);
      store.add(stays);
      await clock.advance(60_000);
      assert.deepEqual(expired, []);
      await clock.advance(30_000);
      assert.deepEqual(expired, [[stays, 120]]);
    });
  });

  describe(`${name}: the streams that have ended`, () => {
    const why = new KeyweaveError('UNKNOWN_STREAM', 'opened anew');

    it('are known for ten minutes, by peer and incarnation, and why to their owner', async () => {
      const stream = streamOf(1);
      stream.join(OWNER);
      store.ended.note(stream, why);
      const { id, incarnation, route } = stream;
      assert.deepEqual(route, directRoute(ALICE));
      const whyOf = (identity: string) => store.ended.whyOf(id, (owner) => owner?.identity === identity);
      assert.equal(store.ended.has(ALICE, id, incarnation), true);
      assert.equal(store.ended.has(ALICE, id, Buffer.alloc(8, 2)), false);
      assert.equal(store.ended.has(CAROL, id, incarnation), false);
      assert.deepEqual([whyOf('CN:alice'), whyOf('CN:mallory')], [why, undefined]);
      await clock.advance(599_999);
      assert.equal(whyOf('CN:alice'), why);
      await clock.advance(1);
      assert.deepEqual([store.ended.has(ALICE, id, incarnation), whyOf('CN:alice')], [false, undefined]);
    });
  });
}
