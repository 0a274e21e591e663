import type { Meter } from '@opentelemetry/api';
import type { LinkBalance } from '../reservoirs/reservoirs.ts';

/**
 * Where the QKD keys of each link go. What was taken at the key manager is the
 * sum of what was woven, what was burned, what is held and what is on its way.
 */
export function linkMetrics(meter: Meter, balances: () => Iterable<LinkBalance>): void {
  const counter = (name: string, description: string) => meter.createObservableCounter(name, { description });
  const gauge = (name: string, description: string) => meter.createObservableGauge(name, { description });
  const taken = counter(
    'keyweave_qkd_keys_taken_total',
    'QKD keys of 256 bits that the key manager has given',
  );
  const woven = counter('keyweave_qkd_keys_woven_total', 'QKD keys that went into keys both ends agreed on');
  const burned = counter('keyweave_qkd_keys_burned_total', 'QKD keys that nobody will use, by reason');
  const held = gauge('keyweave_qkd_keys_held', 'QKD keys that wait for a batch');
  const age = gauge('keyweave_qkd_keys_oldest_seconds', 'For how long the oldest of those has waited');
  meter.addBatchObservableCallback(
    (result) => {
      for (const { peer, role, oldestAgeMs, ...balance } of balances()) {
        const side = { peer, role };
        result.observe(taken, balance.taken, side);
        result.observe(woven, balance.woven, side);
        for (const [reason, keys] of balance.burned) result.observe(burned, keys, { ...side, reason });
        result.observe(held, balance.held, side);
        result.observe(age, oldestAgeMs / 1_000, side);
      }
    },
    [taken, woven, burned, held, age],
  );
}
