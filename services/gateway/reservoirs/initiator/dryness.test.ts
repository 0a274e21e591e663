import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { BOB } from '#test/helpers/streams.ts';
import { Dryness } from './dryness.ts';

let logged: unknown[];
let dryness: Dryness;

beforeEach(beginAnew);

const dry = (nowMs: number, rate?: number, waiting = 1, count = 0) =>
  dryness.note(count, true, { rate, waiting }, nowMs);

describe('Dryness', () => {
  it('is nothing where there was enough', () => {
    assert.equal(dryness.note(5, false, { rate: undefined, waiting: 3 }, 0), undefined);
    assert.deepEqual(logged, []);
  });

  it('pauses ever longer, half a second at most, and from the start once a key has come', () => {
    const pauses = () => Array.from({ length: 7 }, (_, i) => dry(i)?.pauseMs);
    assert.deepEqual(pauses(), [25, 50, 100, 200, 400, 500, 500]);
    assert.deepEqual([dry(10, undefined, 1, 1)?.pauseMs, dry(11)?.pauseMs], [25, 50]);
  });

  it('pauses for half the time to the next key where the rate is known', () => {
    assert.deepEqual(
      [1_000, 8, 1, 0.1].map((rate) => dry(0, rate)?.pauseMs),
      [25, 62.5, 500, 500],
    );
  });

  it('tells those who wait after a second without a key, and again each time that it has passed', () => {
    const told = Array.from({ length: 35 }, (_, i) => i * 100).filter((ms) => dry(ms)?.tells);
    assert.deepEqual(told, [1_000, 2_000, 3_000]);
    dry(3_500, undefined, 1, 1);
    assert.equal(dry(4_400)?.tells, false, 'a key has come meanwhile');
  });

  it('bears a slow source for several of its gaps, and no longer than five seconds however slow it seems', () => {
    for (const [rate, firstMs] of [
      [80, 1_000],
      [2, 2_000],
      [1, 4_000],
      [0.001, 5_000],
    ] as const) {
      beginAnew();
      const first = Array.from({ length: 100 }, (_, i) => i * 100).find((ms) => dry(ms, rate)?.tells);
      assert.equal(first, firstMs, `${rate} keys a second`);
    }
    // The rate that is measured sinks while nothing comes; the patience does not grow beyond its limit.
    beginAnew();
    let rate = 4;
    const told = Array.from({ length: 60 }, (_, i) => i * 200).find((ms) => {
      rate *= 0.7;
      return dry(ms, rate)?.tells;
    });
    assert.ok(told !== undefined && told <= 5_000, `${told}`);
  });

  it('says how many wait, and what for', () => {
    assert.match(dry(0, 4, 1)?.words ?? '', /^1 stream waits for QKD keys; the link gives one every 250 ms$/);
    assert.match(dry(10, undefined, 3)?.words ?? '', /^3 streams wait .* none at the moment$/);
    assert.match(dry(2_000, 4, 3)?.words ?? '', /has given none for 2 s$/);
  });

  it('is told to the operator once a minute at most, with the rate where it is known', () => {
    for (let ms = 0; ms < 130_000; ms += 500) dry(ms, 8, 2);
    assert.deepEqual(
      logged,
      Array.from({ length: 3 }, () => ({ peer: BOB, waiting: 2, bitsPerSecond: 2_048 })),
    );
    beginAnew();
    dry(0);
    assert.deepEqual(logged, [{ peer: BOB, waiting: 1 }]);
  });
});

function beginAnew(): void {
  logged = [];
  dryness = new Dryness({ info: (_, fields) => void logged.push(fields) }, BOB);
}
