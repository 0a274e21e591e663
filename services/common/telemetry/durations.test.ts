import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Attributes } from '@opentelemetry/api';
import { LabelledDurations } from '#common/telemetry/durations.ts';

it('asks for a place once for each set of values', () => {
  const asked: Attributes[] = [];
  const of = (labels: Attributes) => {
    asked.push(labels);
    return { record: () => undefined };
  };
  const places = new LabelledDurations({ of }, ['method', 'outcome'], { target: 'hybridizer' });
  const derive = places.of('Derive', 'ok');
  assert.equal(places.of('Derive', 'ok'), derive);
  assert.notEqual(places.of('Derive', 'TIMEOUT'), derive);
  assert.deepEqual(asked, [
    { target: 'hybridizer', method: 'Derive', outcome: 'ok' },
    { target: 'hybridizer', method: 'Derive', outcome: 'TIMEOUT' },
  ]);
});
