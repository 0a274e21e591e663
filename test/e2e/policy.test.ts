import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setInterval } from 'node:timers/promises';
import type { JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { keyOf, type LocalNetwork, type LocalNode, openData, openPair } from '../helpers/network.ts';
import { withPolicies as policyPair } from '../helpers/policy-pair.ts';

/** Pace of an application that reads slowly, and keys that the other one reads beside it. */
const PACE_MS = 10;
const PACED_KEYS = 150;

/** Unread keys that one end may hold where the test is about that. */
const LITTLE_ROOM = 4;

type Policies = readonly [string, string];

const withPolicies = (
  [alice, bob]: Policies,
  check: (network: LocalNetwork) => Promise<void>,
  config?: Record<string, unknown>,
) => policyPair([{ missing_source: alice }, { missing_source: bob }], check, config);

const withoutQkd = (policies: Policies, check: (network: LocalNetwork) => Promise<void>) =>
  withPolicies(
    policies,
    async (network) => {
      await network.kme.stopEnd(1);
      await check(network);
    },
    { qkd: { timeout: '300ms' } },
  );

describe('a source that is missing', () => {
  it('is replaced from the shared_seed where both policies allow it, and the metadata says so', () =>
    withoutQkd(['shared_seed', 'shared_seed'], async (network) => {
      const [alice, bob] = network.nodes as [LocalNode, LocalNode];
      const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 5000 }));
      const seen = new Set<string>();
      for (let i = 0; i < 5; i++) {
        const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
        assert.deepEqual(keyOf(a), keyOf(b));
        for (const answer of [a, b])
          assert.match(answer.metadata?.buffer ?? '', /"policy_met":false,"degraded":true/);
        seen.add(keyOf(a).toString('hex'));
      }
      assert.equal(seen.size, 5);
      await pair.close();
    }));

  for (const policies of [
    ['refuse', 'refuse'],
    ['shared_seed', 'refuse'],
    ['refuse', 'shared_seed'],
  ] as const) {
    it(`gives no key where the policies are ${policies.join(' and ')}`, () =>
      withoutQkd(policies, async (network) => {
        const [alice, bob] = network.nodes as [LocalNode, LocalNode];
        const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 2000 }));
        const answers = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
        for (const answer of answers)
          assert.ok([4, 6].includes(answer.status), `status ${answer.status}: ${answer.message}`);
        await pair.close();
      }));
  }
});

describe('a method that needs two distinct secrets, of a single source', () => {
  const SOURCES = ['QKD', 'ML-KEM-1024'];

  for (const policies of [
    ['refuse', 'refuse'],
    ['shared_seed', 'refuse'],
    ['refuse', 'shared_seed'],
  ] as const) {
    it(`is refused at both ends, in words and at once, where the policies are ${policies.join(' and ')}`, () =>
      withPolicies(policies, async (network) => {
        const [alice, bob] = network.nodes as [LocalNode, LocalNode];
        for (const method of ['xorhmac', 'xoring', 'hmac']) {
          for (const source of SOURCES) {
            const started = performance.now();
            const data = openData(alice, bob, `hybridization=${method}&key_sources=${source}`, {
              timeout: 8_000,
            });
            const pair = await openPair(network, data);
            for (const { status, message } of pair.opened) {
              assert.equal(status, 7, `${method} of ${source}: ${message}`);
              assert.match(message, /needs two distinct secrets/);
              assert.match(message, /hkdf-sha384/);
              assert.match(message, /policy\.missing_source/);
            }
            const ms = performance.now() - started;
            assert.ok(ms < 3_000, `took ${ms} ms`);
            pair.a.disconnect();
            pair.b.disconnect();
          }
        }
      }));
  }

  it('tells the application that comes after the other node has refused, too', () =>
    withPolicies(['refuse', 'shared_seed'], async (network) => {
      const [alice, bob] = network.nodes as [LocalNode, LocalNode];
      const [a, b] = await Promise.all([Etsi004Client.connect(alice.json), Etsi004Client.connect(bob.json)]);
      const data = openData(alice, bob, 'hybridization=xorhmac&key_sources=QKD', { timeout: 8_000 });
      assert.equal((await a.open(data)).status, 7);
      const started = performance.now();
      const { status, message } = await b.open(data);
      assert.equal(status, 7, message);
      assert.match(message, /needs two distinct secrets/);
      assert.ok(performance.now() - started < 3_000);
      a.disconnect();
      b.disconnect();
    }));

  it('opens with the stand-in as a slot of its own where both policies allow it, and every key says so', () =>
    withPolicies(['shared_seed', 'shared_seed'], async (network) => {
      const [alice, bob] = network.nodes as [LocalNode, LocalNode];
      for (const method of ['xorhmac', 'xoring', 'hmac']) {
        for (const source of [...SOURCES, 'HQC-128']) {
          const query = `hybridization=${method}&key_sources=${source}`;
          const pair = await openPair(network, openData(alice, bob, query, { timeout: 8_000 }));
          const seen = new Set<string>();
          for (let i = 0; i < 4; i++) {
            const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
            assert.deepEqual(keyOf(a), keyOf(b), query);
            assert.notDeepEqual(keyOf(a), Buffer.alloc(32), `${query} gives zeros`);
            for (const answer of [a, b]) {
              const metadata = JSON.parse(answer.metadata?.buffer ?? '{}');
              assert.deepEqual(metadata.sources, [source, 'SHARED-SEED']);
              assert.deepEqual([metadata.policy_met, metadata.degraded], [false, true]);
            }
            seen.add(keyOf(a).toString('hex'));
          }
          assert.equal(seen.size, 4);
          await pair.close();
        }
      }
      const whole = await openPair(
        network,
        openData(alice, bob, 'hybridization=hkdf-sha384&key_sources=QKD'),
      );
      const answer = await whole.a.getKey(whole.ksid);
      assert.match(answer.metadata?.buffer ?? '', /"sources":\["QKD"\].*"policy_met":true,"degraded":false/);
      await whole.close();
    }));

  it('is a stream like any other when its only source goes: it gives no key of the seed alone', () =>
    withoutQkd(['shared_seed', 'shared_seed'], async (network) => {
      const [alice, bob] = network.nodes as [LocalNode, LocalNode];
      const query = 'hybridization=xorhmac&key_sources=QKD';
      const pair = await openPair(network, openData(alice, bob, query, { timeout: 2_000 }));
      for (const answer of await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]))
        assert.ok([4, 6].includes(answer.status), `status ${answer.status}: ${answer.message}`);
      await pair.close();
    }));
});

describe('an application that reads more slowly than the other', () => {
  for (const slow of ['b', 'a'] as const) {
    it(`degrades no key and fails no request of the other (${slow} is slow)`, () =>
      withPolicies(
        ['shared_seed', 'shared_seed'],
        async (network) => {
          const [alice, bob] = network.nodes as [LocalNode, LocalNode];
          const pair = await openPair(
            network,
            openData(alice, bob, undefined, { timeout: 8_000, max_bps: 0 }),
          );
          const fast = slow === 'b' ? 'a' : 'b';
          const keys = { a: new Map<number, Buffer>(), b: new Map<number, Buffer>() };
          const ask = (end: 'a' | 'b') => pair[end].getKey(pair.ksid);
          const note = (end: 'a' | 'b', answer: JsonAnswer) => {
            assert.equal(answer.status, 0, `${end}: ${answer.message}`);
            assert.match(answer.metadata?.buffer ?? '', /"degraded":false/);
            keys[end].set(answer.index ?? -1, keyOf(answer));
          };
          const read = async (end: 'a' | 'b') => note(end, await ask(end));
          // What both hold is read at the fast end; from then on each of its keys needs room at the slow one.
          for (let i = 0; i < LITTLE_ROOM; i++) await read(fast);
          let reading = true;
          const paced = (async () => {
            for await (const _ of setInterval(PACE_MS)) {
              if (!reading) return;
              const answer = await ask(slow);
              // Where the fast end reads no more and is full, nothing more can be made.
              if (!reading && answer.status === 2) return;
              note(slow, answer);
            }
          })();
          const unpaced = (async () => {
            for (let i = 0; i < PACED_KEYS; i++) await read(fast);
          })();
          await Promise.all([paced, unpaced.finally(() => (reading = false))]);
          const compared = [...keys.b].filter(([index]) => keys.a.has(index));
          assert.ok(compared.length >= PACED_KEYS / 2, `${compared.length} keys to compare`);
          for (const [index, key] of compared) assert.deepEqual(key, keys.a.get(index));
          await pair.close();
        },
        { limits: { max_buffered_chunks: LITTLE_ROOM } },
      ));
  }

  it('is named to the other when its time has run out', () =>
    withPolicies(
      ['refuse', 'refuse'],
      async (network) => {
        const [alice, bob] = network.nodes as [LocalNode, LocalNode];
        const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 2_000, max_bps: 0 }));
        for (let i = 0; i < LITTLE_ROOM; i++) assert.equal((await pair.a.getKey(pair.ksid)).status, 0);
        const { status, message } = await pair.a.getKey(pair.ksid);
        assert.equal(status, 2, message);
        assert.match(message, /holds 4 unread keys and takes no more until its application reads them/);
        await pair.close();
      },
      { limits: { max_buffered_chunks: LITTLE_ROOM } },
    ));
});
