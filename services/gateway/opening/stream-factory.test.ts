import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NodeConfig } from '#common/config/node-config.ts';
import { Secret } from '#common/crypto/secret.ts';
import { ALICE, BOB, CAROL, incarnation, ksidOf, openingsOf, QOS, termsOf } from '#test/helpers/openings.ts';
import { StreamFactory } from './stream-factory.ts';

function factoryOf(limits: Partial<NodeConfig['limits']> = {}) {
  const { config, services, registry } = openingsOf(ALICE, limits);
  const factory = new StreamFactory(config, services, registry);
  const create = (role: 'initiator' | 'responder', source: string, destination: string) =>
    factory.create({
      ...{ ksid: ksidOf(1).text, incarnation: incarnation(1), terms: termsOf('app', source, destination) },
      ...{ role, qos: QOS, predefined: false },
    });
  return { config, services, registry, factory, create };
}

describe('StreamFactory', () => {
  it('takes the other node of the pair for the peer, and no stand-in for granted', () => {
    const { create } = factoryOf();
    const streams = [create('initiator', ALICE, BOB), create('responder', CAROL, ALICE)];
    assert.deepEqual(
      streams.map(({ peerNode, allowDegraded }) => [peerNode, allowDegraded]),
      [
        [BOB, false],
        [CAROL, false],
      ],
    );
  });

  it('keeps to the limits of the node, and to the peer’s share of its memory', () => {
    const { create, registry } = factoryOf({
      ...{ max_buffered_chunks: 9, max_prefetch_chunks: 3, max_held_bytes_per_peer: 10 * 32 },
    });
    const stream = create('initiator', ALICE, BOB);
    assert.equal(stream.maxBufferedChunks, 9);
    assert.equal(stream.peerRoom, 10);
    registry.heldFor(BOB).change(4 * 32);
    assert.equal(stream.peerRoom, 6, 'what other streams with the peer hold does not count');
    assert.equal(factoryOf({ max_buffered_bytes: 64 }).create('initiator', ALICE, BOB).maxBufferedChunks, 2);
  });

  it('lets a shared_seed stand in only where the policy says so and one is shared with the peer', () => {
    const { config, services, factory } = factoryOf();
    Object.assign(services, {
      sharedSeed: (peer: string) => (peer === BOB ? new Secret(Buffer.alloc(32, 1)) : undefined),
    });
    assert.equal(factory.mayDegrade(BOB), false, 'by default it is refused');
    config.policy.missing_source = 'shared_seed';
    assert.deepEqual(
      [BOB, CAROL].map((peer) => factory.mayDegrade(peer)),
      [true, false],
    );
  });
});
