import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEM_ALGORITHMS, type KemEngineName } from '#common/catalogue/kems.ts';
import { nativeMissing } from '../helpers/engines.ts';
import {
  keyOf,
  type LocalNetwork,
  type LocalNode,
  networkFor,
  openData,
  openPair,
  twoNodes,
} from '../helpers/network.ts';

const WITHOUT_ADDON: KemEngineName[] = ['openssl', 'liboqs-wasm'];

/** Only the native engine has BIKE. */
const bike = KEM_ALGORITHMS.filter((row) => row.family === 'BIKE');
const others = KEM_ALGORITHMS.filter((row) => row.family !== 'BIKE');

const { network, alice, bob } = await twoNodes();

async function deliversEqualKeys(name: string): Promise<void> {
  const query = `hybridization=hkdf-sha256&key_sources=${name},QKD`;
  const pair = await openPair(network, openData(alice, bob, query, { timeout: 120_000 }));
  assert.deepEqual(
    pair.opened.map((answer) => answer.status),
    [0, 0],
    pair.opened[0].message,
  );
  const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
  assert.deepEqual(keyOf(a), keyOf(b));
  assert.match(a.metadata?.buffer ?? '', new RegExp(`"sources":\\["${name}","QKD"\\]`));
  await pair.close();
}

async function isRefused(on: LocalNetwork, name: string, words: RegExp): Promise<void> {
  const [alice, bob] = on.nodes as [LocalNode, LocalNode];
  const pair = await openPair(on, openData(alice, bob, `hybridization=hkdf-sha256&kem_mec=${name}`));
  for (const answer of pair.opened) {
    assert.equal(answer.status, 7);
    assert.match(answer.message, words);
    assert.match(answer.message, new RegExp(name));
  }
  pair.a.disconnect();
  pair.b.disconnect();
}

describe('every KEM through the whole system', () => {
  it('there are 29, three of which need the native engine', () => {
    assert.deepEqual([others.length, bike.length], [26, 3]);
  });

  for (const { name } of others) it(`${name} opens and delivers equal keys`, () => deliversEqualKeys(name));

  for (const { name } of bike) {
    if (nativeMissing)
      it(`${name} is refused with the remedy`, () => isRefused(network, name, /make native/));
    else it(`${name} opens and delivers equal keys`, () => deliversEqualKeys(name));
  }

  it('a slow KEM beside it does not hold up ML-KEM', async () => {
    const slow = await openPair(
      network,
      openData(alice, bob, 'hybridization=hmac&kem_mec=Classic-McEliece-6688128', { timeout: 120_000 }),
    );
    const fast = await openPair(network, openData(alice, bob));
    const waiting = slow.a.getKey(slow.ksid);
    for (let i = 0; i < 20; i++) {
      const started = performance.now();
      keyOf(await fast.a.getKey(fast.ksid));
      assert.ok(performance.now() - started < 1000, 'ML-KEM waited behind Classic McEliece');
    }
    keyOf(await waiting);
    await Promise.all([slow.close(), fast.close()]);
  });
});

describe('without the native engine', () => {
  it('BIKE is refused by name, ML-KEM is not', async (test) => {
    const poorer = await networkFor(test, {
      names: ['Alice', 'Bob'],
      config: () => ({ pqc: { engines: WITHOUT_ADDON } }),
    });
    await isRefused(poorer, 'BIKE-L1', /pqc\.engines/);
    const [alice, bob] = poorer.nodes as [LocalNode, LocalNode];
    const pair = await openPair(poorer, openData(alice, bob));
    assert.deepEqual(keyOf(await pair.a.getKey(pair.ksid)), keyOf(await pair.b.getKey(pair.ksid)));
    await pair.close();
  });

  it('nodes with different engines agree', async (test) => {
    const mixed = await networkFor(test, {
      names: ['Alice', 'Bob'],
      config: (name) => (name === 'Alice' ? { pqc: { engines: WITHOUT_ADDON } } : {}),
    });
    const [alice, bob] = mixed.nodes as [LocalNode, LocalNode];
    for (const kem of ['ML-KEM-1024', 'Kyber768', 'sntrup761', 'FrodoKEM-976-AES', 'HQC-192']) {
      const query = `hybridization=hkdf-sha384&key_sources=${kem}`;
      const pair = await openPair(mixed, openData(alice, bob, query, { timeout: 60_000 }));
      assert.deepEqual(keyOf(await pair.a.getKey(pair.ksid)), keyOf(await pair.b.getKey(pair.ksid)), kem);
      await pair.close();
    }
  });
});
