import { type LocalNetwork, startLocalNetwork } from './network.ts';

/** Two nodes of which each has its section `policy`, first Alice's; stopped when `check` is over. */
export async function withPolicies(
  policies: readonly [alice: object, bob: object],
  check: (network: LocalNetwork) => Promise<void>,
  config: Record<string, unknown> = {},
): Promise<void> {
  const network = await startLocalNetwork({
    names: ['Alice', 'Bob'],
    config: (name) => ({ ...config, policy: name === 'Alice' ? policies[0] : policies[1] }),
  });
  try {
    await check(network);
  } finally {
    await network.stop();
  }
}
