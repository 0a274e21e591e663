import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DURATION_BUCKETS } from '#common/telemetry/durations.ts';
import { telemetryOfTest } from '#test/helpers/telemetry.ts';

/** In every bucket, on every bound, and beyond the last. */
const SECONDS = [0, ...DURATION_BUCKETS.flatMap((bound) => [bound * 0.99, bound, bound * 1.01]), 1_000];

describe('a histogram of durations', () => {
  it("tells what the library's own would", async () => {
    const { telemetry, samples, close } = telemetryOfTest();
    const theirs = telemetry.meter.createHistogram('theirs_seconds', {
      ...{ unit: 's', description: 'Theirs' },
      advice: { explicitBucketBoundaries: DURATION_BUCKETS },
    });
    const ours = telemetry.durations('ours_seconds', 'Ours');
    const [odd, even] = [ours.of({ kind: 'odd' }), ours.of({ kind: 'even' })];
    for (const [i, seconds] of SECONDS.entries()) {
      theirs.record(seconds, { kind: i % 2 ? 'odd' : 'even' });
      (i % 2 ? odd : even).record(seconds);
    }
    const named = (name: string, of: ReadonlyMap<string, number>) =>
      [...of].filter(([key]) => key.startsWith(name)).map(([key, value]) => [key.slice(name.length), value]);
    const told = await samples();
    assert.ok(named('ours', told).length > 2 * DURATION_BUCKETS.length);
    assert.deepEqual(new Map(named('ours', told) as []), new Map(named('theirs', told) as []));
    assert.match(
      (await telemetry.exposition?.()) ?? '',
      /# HELP ours_seconds Ours\n(?:# UNIT .*\n)?# TYPE ours_seconds histogram\n/,
    );
    await close();
  });

  it('has one place for the same labels, in whatever order they are', async () => {
    const { telemetry, samples, close } = telemetryOfTest();
    const ours = telemetry.durations('ours_seconds', 'Ours');
    ours.of({ kind: 'a', peer: 'b' }).record(1);
    ours.of({ peer: 'b', kind: 'a' }).record(1);
    const counts = [...(await samples())].filter(([name]) => name.startsWith('ours_seconds_count'));
    assert.deepEqual(
      counts.map(([, count]) => count),
      [2],
    );
    await close();
  });

  it('tells nothing of labels of which nothing was recorded', async () => {
    const { telemetry, close } = telemetryOfTest();
    const ours = telemetry.durations('ours_seconds', 'Ours');
    const [used] = [ours.of({ kind: 'used' }), ours.of({ kind: 'unused' })];
    telemetry.durations('empty_seconds', 'Empty').of({});
    for (let i = 0; i < 3; i++) used?.record(0.5);
    const exposed = (await telemetry.exposition?.()) ?? '';
    assert.match(exposed, /ours_seconds_count\{kind="used".*\} 3\n/);
    assert.doesNotMatch(exposed, /unused|empty/);
    await close();
  });
});
