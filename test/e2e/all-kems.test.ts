import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/algorithms/kem-algorithms.ts';
import { type LocalNetwork, type LocalNode, startLocalNetwork } from '../../services/cli/local-network.ts';
import { keyOf, openData, openPair } from '../helpers/network.ts';

/** Only the native engine has BIKE. */
const usable = KEM_ALGORITHMS.filter((row) => row.family !== 'BIKE');

let network: LocalNetwork;

before(async () => {
  network = await startLocalNetwork({ names: ['Alice', 'Bob'] });
});
after(() => network.stop());

describe('every KEM through the whole system', () => {
  it('there are 26 of the 29', () => assert.equal(usable.length, 26));

  for (const { name } of usable) {
    it(`${name} opens and delivers equal keys`, async () => {
      const [alice, bob] = network.nodes as [LocalNode, LocalNode];
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
    });
  }

  it('a slow KEM beside it does not hold up ML-KEM', async () => {
    const [alice, bob] = network.nodes as [LocalNode, LocalNode];
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
