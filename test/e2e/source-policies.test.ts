import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SourcePolicy } from '#common/policy/policy-section.ts';
import {
  eventually,
  keyOf,
  type LocalNetwork,
  type LocalNode,
  openData,
  openPair,
  type Pair,
} from '../helpers/network.ts';
import { withPolicies as policyPair } from '../helpers/policy-pair.ts';
import { servicePid } from '../helpers/proc.ts';

/** How often a service that is to stay down is looked for. */
const KILL_MS = 15;

const HYBRID = 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD';

const withPolicies = (
  [alice, bob]: readonly [SourcePolicy, SourcePolicy],
  check: (network: LocalNetwork) => Promise<void>,
  config: Record<string, unknown> = { qkd: { timeout: '300ms' } },
) => policyPair([{ sources: alice }, { sources: bob }], check, config);

async function opened(network: LocalNetwork, query = HYBRID, timeout = 8_000): Promise<Pair> {
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  const pair = await openPair(network, openData(alice, bob, query, { timeout, max_bps: 0 }));
  for (const { status, message } of pair.opened) assert.equal(status, 0, message);
  return pair;
}

const askBoth = ({ a, b, ksid }: Pair) => Promise.all([a.getKey(ksid), b.getKey(ksid)]);

/** A key at both ends, and what both say of it. */
async function sameKey(pair: Pair): Promise<{ key: string; metadata: Record<string, unknown> }> {
  const [a, b] = await askBoth(pair);
  assert.deepEqual(keyOf(a), keyOf(b));
  const [one, other] = [a, b].map((answer) => JSON.parse(answer.metadata?.buffer ?? '{}'));
  assert.deepEqual({ ...one, age: 0 }, { ...other, age: 0 });
  return { key: keyOf(a).toString('hex'), metadata: one };
}

const said = ({ sources, policy, policy_met, degraded }: Record<string, unknown>) => [
  ...[sources, policy, policy_met, degraded],
];

/** Kills a service of a node as often as it comes back, until what it gives is called. */
function keepDown(node: LocalNode, service: 'pqc-source'): () => void {
  const timer = setInterval(() => {
    try {
      process.kill(servicePid(node.process.pid, service), 'SIGKILL');
    } catch {
      // It is down.
    }
  }, KILL_MS);
  return () => clearInterval(timer);
}

describe('QKD that is missing at one end', () => {
  for (const [policies, name] of [
    [['pqc-required', 'pqc-required'], 'pqc-required'],
    [['any', 'any'], 'any'],
    [['any', 'pqc-required'], 'pqc-required'],
  ] as const) {
    it(`is left out at both where the policies are ${policies.join(' and ')}, and the metadata says so`, () =>
      withPolicies(policies, async (network) => {
        const pair = await opened(network);
        assert.deepEqual(said((await sameKey(pair)).metadata), [['ML-KEM-768', 'QKD'], name, true, false]);
        await network.kme.stopEnd(1);
        const seen = new Set<string>();
        await eventually('QKD is left out', 10_000, async () => {
          const { key, metadata } = await sameKey(pair);
          seen.add(key);
          return metadata.degraded === true ? true : undefined;
        });
        for (let i = 0; i < 5; i++) {
          const { key, metadata } = await sameKey(pair);
          assert.deepEqual(said(metadata), [['ML-KEM-768'], name, true, true]);
          assert.ok(!seen.has(key) && !/^0+$/.test(key));
          seen.add(key);
        }
        await pair.close();
      }));
  }

  for (const policies of [
    ['all', 'all'],
    ['any', 'all'],
    ['all', 'any'],
    ['qkd-required', 'any'],
    ['pqc-required', 'qkd-required'],
  ] as const) {
    it(`gives no key where the policies are ${policies.join(' and ')}`, () =>
      withPolicies(policies, async (network) => {
        await network.kme.stopEnd(1);
        const pair = await opened(network, HYBRID, 2_000);
        for (const { status, message } of await askBoth(pair))
          assert.ok([4, 6].includes(status), `status ${status}: ${message}`);
        await pair.close();
      }));
  }

  it('is not left out by a method that would have one secret', () =>
    withPolicies(['any', 'any'], async (network) => {
      await network.kme.stopEnd(1);
      for (const method of ['xoring', 'xorhmac']) {
        const pair = await opened(network, `hybridization=${method}&key_sources=ML-KEM-768,QKD`, 2_000);
        for (const { status, message } of await askBoth(pair))
          assert.ok([4, 6].includes(status), `${method}: status ${status}: ${message}`);
        await pair.close();
      }
    }));
});

describe('a pqc-source that is down', () => {
  for (const side of [0, 1]) {
    it(`at end ${side} has its KEMs left out at both under qkd-required, within the timeout, and woven again later`, () =>
      withPolicies(
        ['qkd-required', 'any'],
        async (network) => {
          const pair = await opened(network);
          assert.deepEqual(said((await sameKey(pair)).metadata), [
            ...[['ML-KEM-768', 'QKD'], 'qkd-required', true, false],
          ]);
          const comeBack = keepDown(network.nodes[side] as LocalNode, 'pqc-source');
          try {
            await eventually('KEMs are left out', 20_000, async () =>
              (await sameKey(pair)).metadata.degraded === true ? true : undefined,
            );
            for (let i = 0; i < 3; i++)
              assert.deepEqual(said((await sameKey(pair)).metadata), [['QKD'], 'qkd-required', true, true]);
          } finally {
            comeBack();
          }
          await eventually('KEMs are woven again', 60_000, async () =>
            (await sameKey(pair)).metadata.degraded === false ? true : undefined,
          );
          await pair.close();
        },
        {},
      ));
  }
});

describe('a stream that names no source of the kind that a policy requires', () => {
  it('is refused at both ends, in words', () =>
    withPolicies(['all', 'qkd-required'], async (network) => {
      const [alice, bob] = network.nodes as [LocalNode, LocalNode];
      const query = 'hybridization=hkdf-sha384&key_sources=ML-KEM-768';
      const pair = await openPair(network, openData(alice, bob, query, { timeout: 20_000 }));
      for (const { status, message } of pair.opened) {
        assert.equal(status, 7, message);
        assert.match(message, /^policy\.sources of node \S+ is qkd-required, and ML-KEM-768 has no QKD/);
      }
      pair.a.disconnect();
      pair.b.disconnect();
    }));
});
