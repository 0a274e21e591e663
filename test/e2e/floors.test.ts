import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { BinaryClient } from '../helpers/binary-client.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import {
  keyOf,
  type LocalNode,
  nodeUuid,
  openData,
  openPair,
  startLocalNetwork,
} from '../helpers/network.ts';

/** A refusal is no timeout. */
const AT_ONCE_MS = 4_000;

type Policy = Record<string, unknown>;

async function withPolicies(
  config: Record<'Alice' | 'Bob', Policy>,
  check: (
    alice: LocalNode,
    bob: LocalNode,
    network: Awaited<ReturnType<typeof startLocalNetwork>>,
  ) => Promise<void>,
) {
  const names = ['Alice', 'Bob'] as const;
  const network = await startLocalNetwork({
    names: [...names],
    config: (name) => config[name as 'Alice' | 'Bob'],
  });
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  try {
    await check(alice, bob, network);
  } finally {
    await network.stop();
  }
}

/** What is below a floor, and what is said of it. */
const BELOW: readonly (readonly [query: string, words: RegExp])[] = [
  [
    'hybridization=xoring&key_sources=ML-KEM-768,QKD',
    /floor\.methods of node \S+ allows hkdf-sha384, kmac256, not xoring/,
  ],
  [
    'hybridization=kmac256&key_sources=QKD',
    /floor\.min_kinds of node \S+ wants QKD and a KEM, and QKD is of QKD alone/,
  ],
  [
    'hybridization=kmac256&key_sources=ML-KEM-512,QKD',
    /floor\.min_nist_category of node \S+ is 3, and ML-KEM-512/,
  ],
];

const FLOOR = { methods: ['hkdf-sha384', 'kmac256'], min_kinds: 2, min_nist_category: 3 };
const ENOUGH = 'hybridization=kmac256&key_sources=ML-KEM-768,QKD';

describe('a floor', () => {
  for (const [where, policy] of [
    ['of the responder', { Alice: {}, Bob: { policy: { floor: FLOOR } } }],
    [
      'of the responder for this peer',
      { Alice: {}, Bob: { policy: { peers: { [nodeUuid(0)]: { floor: FLOOR } } } } },
    ],
  ] as const) {
    it(`${where} refuses what is below it at both ends, in words and at once, and nothing else`, () =>
      withPolicies(policy, async (alice, bob, network) => {
        for (const [query, words] of BELOW) {
          const began = performance.now();
          const pair = await openPair(network, openData(alice, bob, query, { timeout: 20_000 }));
          for (const { status, message } of pair.opened) {
            assert.equal(status, 7, `${query}: ${message}`);
            assert.match(message, words);
            assert.match(message, new RegExp(`^policy\\..*of node ${bob.uuid}`));
          }
          assert.ok(performance.now() - began < AT_ONCE_MS);
          pair.a.disconnect();
          pair.b.disconnect();
        }
        const pair = await openPair(network, openData(alice, bob, ENOUGH, { timeout: 20_000 }));
        const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
        assert.deepEqual(keyOf(a), keyOf(b));
        await pair.close();
      }));
  }

  it('of the initiator refuses there, whoever the application is', () =>
    withPolicies({ Alice: { policy: { floor: FLOOR } }, Bob: {} }, async (alice, bob) => {
      const client = await Etsi004Client.connect(alice.json);
      for (const [query, words] of BELOW) {
        const { status, message } = await client.open(openData(alice, bob, query, { timeout: 20_000 }));
        assert.equal(status, 7, message);
        assert.match(message, words);
        assert.match(message, new RegExp(`^policy\\..*of node ${alice.uuid}`));
      }
      client.disconnect();
    }));

  it('of a listener holds for what comes through it alone, at either end', () => {
    const listeners = {
      json: {},
      binary: {
        tls: 'off',
        port: 0,
        policy: { floor: { min_nist_category: 5 } },
        default_key_sources: ['QKD'],
      },
    };
    return withPolicies({ Alice: { listeners }, Bob: { listeners } }, async (alice, bob, network) => {
      for (const node of [alice, bob]) {
        const { source, destination } = openData(alice, bob, ENOUGH);
        const client = await BinaryClient.connect(node.binary as Address);
        const { status } = await client.open({ source, destination });
        assert.equal(status, 4, node.uuid);
        client.socket.destroy();
      }
      const pair = await openPair(network, openData(alice, bob, ENOUGH, { timeout: 20_000 }));
      assert.deepEqual(
        pair.opened.map(({ status }) => status),
        [0, 0],
      );
      await pair.close();
    });
  });
});
