import type { ServiceContext } from '#common/service/service-context.ts';

/** What a key of 128 bits has, if every byte is random; the reference's example has 9. */
const GOOD_SEED_BYTES = 16;

/** Tells the operator of every shared_seed that is easier to find than what it may stand in for. */
export function warnOfWeakSeeds({
  config,
  peers,
  log,
}: Pick<ServiceContext, 'config' | 'peers' | 'log'>): void {
  const inUse = config.policy.missing_source === 'shared_seed';
  for (const [peer, { shared_seed: seed }] of Object.entries(peers)) {
    if (peer === config.uuid || seed === undefined || seed.length >= GOOD_SEED_BYTES) continue;
    const text = `a shared_seed is weak: agree on ${GOOD_SEED_BYTES} random bytes or more`;
    log[inUse ? 'warning' : 'info'](text, { peer, bytes: seed.length, inUse });
  }
}
