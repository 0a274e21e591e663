import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NodeConfig } from '#common/config/node-config.ts';
import { ALICE, BOB, CAROL, incarnation, ksidOf, openingsOf, QOS, termsOf } from '#test/helpers/openings.ts';

function factoryOf(limits: Partial<NodeConfig['limits']> = {}) {
  const { factory, store, allowStandIn } = openingsOf(ALICE, limits);
  const create = (role: 'initiator' | 'responder', source: string, destination: string) =>
    factory.create({
      ...{ ksid: ksidOf(1).text, incarnation: incarnation(1), terms: termsOf('app', source, destination) },
      ...{ role, qos: QOS, predefined: false, allowDegraded: false },
    });
  return { factory, store, allowStandIn, create };
}

describe('StreamFactory', () => {
  it('takes the way to the other node of the pair, and what makes chunks in the role of this one', () => {
    const { create } = factoryOf();
    const streams = [create('initiator', ALICE, BOB), create('responder', CAROL, ALICE)];
    assert.deepEqual(
      streams.map(({ route, role, producer }) => [route, role, producer.role]),
      [
        [{ nextHop: BOB, farNode: BOB, hops: 0 }, 'initiator', 'initiator'],
        [{ nextHop: CAROL, farNode: CAROL, hops: 0 }, 'responder', 'responder'],
      ],
    );
  });

  it('keeps to the limits of the node, and to the peer’s share of its memory', () => {
    const { create, store } = factoryOf({
      ...{ max_buffered_chunks: 9, max_prefetch_chunks: 3, max_held_bytes_per_peer: 10 * 32 },
    });
    const stream = create('initiator', ALICE, BOB);
    assert.equal(stream.maxBufferedChunks, 9);
    assert.equal(stream.peerRoom, 10);
    store.heldFor(BOB).change(4 * 32);
    assert.equal(stream.peerRoom, 6, 'what other streams with the peer hold does not count');
    assert.equal(factoryOf({ max_buffered_bytes: 64 }).create('initiator', ALICE, BOB).maxBufferedChunks, 2);
  });

  it('lets a shared_seed stand in only where the policy says so and one is shared with the peer', () => {
    const { factory, allowStandIn } = factoryOf();
    assert.equal(factory.mayDegrade(BOB), false, 'by default it is refused');
    allowStandIn(BOB);
    assert.deepEqual(
      [BOB, CAROL].map((peer) => factory.mayDegrade(peer)),
      [true, false],
    );
  });
});
