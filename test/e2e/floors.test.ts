import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { BinaryClient } from '../helpers/binary-client.ts';
import {
  keyOf,
  type LocalNetwork,
  type LocalNode,
  nodeUuid,
  openData,
  openPair,
} from '../helpers/network.ts';
import { withPolicies } from '../helpers/policy-pair.ts';

/** A refusal is no timeout. */
const AT_ONCE_MS = 4_000;

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
  for (const [where, policies, whose] of [
    ['of the responder', [{}, { floor: FLOOR }], 1],
    ['of the responder for this peer', [{}, { peers: { [nodeUuid(0)]: { floor: FLOOR } } }], 1],
    ['of the initiator', [{ floor: FLOOR }, {}], 0],
    ['of the initiator for this peer', [{ peers: { [nodeUuid(1)]: { floor: FLOOR } } }, {}], 0],
  ] as const) {
    it(`${where} refuses what is below it at both ends, in words and at once, and nothing else`, () =>
      withPolicies(policies, async (network, alice, bob) => {
        for (const [query, words] of BELOW) {
          const began = performance.now();
          const pair = await openPair(network, openData(alice, bob, query, { timeout: 20_000 }));
          for (const { status, message } of pair.opened) {
            assert.equal(status, 7, `${query}: ${message}`);
            assert.match(message, words);
            assert.match(message, new RegExp(`^policy\\..*of node ${[alice, bob][whose]?.uuid}`));
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
    const check = async (network: LocalNetwork, alice: LocalNode, bob: LocalNode) => {
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
    };
    return withPolicies([{}, {}], check, { listeners });
  });
});
