import type { Meter } from '@opentelemetry/api';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import type { KeyPairPool } from './key-pair-pool.ts';

/** Whether key pairs that take long to make lie ready when they are asked for. */
export function observePool(meter: Meter, pool: Pick<KeyPairPool, 'counters'>): void {
  const ready = meter.createObservableGauge('keyweave_key_pairs_ready', {
    description: 'One-time key pairs that lie ready, by algorithm',
  });
  const given = meter.createObservableCounter('keyweave_key_pairs_total', {
    description: 'Key pairs that were asked for: out of the pool (hit), or made while somebody waited (miss)',
  });
  meter.addBatchObservableCallback(
    (result) => {
      for (const { name: algorithm } of KEM_ALGORITHMS) {
        const counters = pool.counters(algorithm);
        if (!counters) continue;
        result.observe(ready, counters.ready, { algorithm });
        result.observe(given, counters.hits, { algorithm, pool: 'hit' });
        result.observe(given, counters.misses, { algorithm, pool: 'miss' });
      }
    },
    [ready, given],
  );
}
