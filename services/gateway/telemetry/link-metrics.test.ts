import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BOB } from '#test/helpers/streams.ts';
import { telemetryOfTest } from '#test/helpers/telemetry.ts';
import { linkMetrics } from './link-metrics.ts';

it('shows where the QKD keys of each link have gone', async (t) => {
  const test = telemetryOfTest();
  t.after(() => test.close());
  const burned = new Map([
    ['too old', 3],
    ['AGREEMENT_FAILED', 2],
  ]);
  const side = { peer: BOB, role: 'initiator' } as const;
  linkMetrics(test.telemetry.meter, () => [
    { ...side, taken: 100, woven: 90, burned, held: 5, oldestAgeMs: 1_500 },
    { ...side, role: 'responder', taken: 0, woven: 0, burned: new Map(), held: 0, oldestAgeMs: 0 },
  ]);
  const samples = await test.samples();
  const labels = `peer="${BOB}",role="initiator"`;
  for (const [name, value] of [
    [`keyweave_qkd_keys_taken_total{${labels}}`, 100],
    [`keyweave_qkd_keys_woven_total{${labels}}`, 90],
    [`keyweave_qkd_keys_burned_total{${labels},reason="too old"}`, 3],
    [`keyweave_qkd_keys_burned_total{${labels},reason="AGREEMENT_FAILED"}`, 2],
    [`keyweave_qkd_keys_held{${labels}}`, 5],
    [`keyweave_qkd_keys_oldest_seconds{${labels}}`, 1.5],
    [`keyweave_qkd_keys_taken_total{peer="${BOB}",role="responder"}`, 0],
  ] as const)
    assert.equal(samples.get(name), value, name);
});
