import { type LocalNetwork, type LocalNode, startLocalNetwork } from './network.ts';

/** Two nodes of which each has its section `policy`, first Alice's, and both `config`; stopped when `check` is over. */
export async function withPolicies(
  policies: readonly [alice: object, bob: object],
  check: (network: LocalNetwork, alice: LocalNode, bob: LocalNode) => Promise<void>,
  config: Record<string, unknown> = {},
): Promise<void> {
  const network = await startLocalNetwork({
    names: ['Alice', 'Bob'],
    config: (name) => ({ ...config, policy: name === 'Alice' ? policies[0] : policies[1] }),
  });
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  try {
    await check(network, alice, bob);
  } finally {
    await network.stop();
  }
}
