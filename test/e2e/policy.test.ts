import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type LocalNetwork, type LocalNode, startLocalNetwork } from '../../services/cli/local-network.ts';
import { keyOf, openData, openPair } from '../helpers/network.ts';

async function withoutQkd(
  policies: readonly [string, string],
  check: (network: LocalNetwork) => Promise<void>,
) {
  const network = await startLocalNetwork({
    names: ['Alice', 'Bob'],
    config: (name) => ({
      qkd: { timeout: '300ms' },
      policy: { missing_source: name === 'Alice' ? policies[0] : policies[1] },
    }),
  });
  try {
    await network.kme.stopEnd(1);
    await check(network);
  } finally {
    await network.stop();
  }
}

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
