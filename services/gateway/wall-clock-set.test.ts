import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { keyStream, LIVING, termsOf } from '#test/helpers/streams.ts';
import { keyMetadata } from './delivery/key-metadata.ts';
import { usableAlgorithms } from './opening/usable-algorithms.ts';
import type { Chunk } from './streams/chunk-buffer.ts';
import type { KeyStream } from './streams/key-stream.ts';

const HOUR_MS = 3_600_000;

let clock: FakeClock;

/** Whoever reads the wall clock past the one that it was given reads the same. */
mock.method(Date, 'now', () => clock.wallMs());

const newStream = (qos: Partial<Qos>) => keyStream({ clock, qos: { timeoutMs: 5_000, ...qos } });
const take = (stream: KeyStream) => stream.take(undefined, 5_000, () => undefined, LIVING);

for (const [what, stepMs] of [
  ['10 minutes back', -HOUR_MS / 6],
  ['an hour back', -HOUR_MS],
  ['an hour ahead', HOUR_MS],
] as const) {
  describe(`a wall clock that is set ${what}`, () => {
    const setWall = () => clock.setWall(clock.wallMs() + stepMs);

    beforeEach(async () => {
      clock = new FakeClock();
      await clock.advance(24 * HOUR_MS);
    });

    it('neither delays a key of a stream with Max_bps nor gives one early', async () => {
      const stream = newStream({ maxBps: 256 });
      stream.release(0, Buffer.alloc(3 * 32), false);
      assert.ok(!(take(stream) instanceof Promise));
      setWall();
      const early = take(stream);
      assert.ok(early instanceof Promise, 'the second key of a second was given at once');
      await clock.advance(2_000);
      assert.equal((await early).index, 1);
      await clock.advance(1_000);
      assert.ok(!(take(stream) instanceof Promise), 'a key waits after its second');
    });

    it('leaves the age of a key what it was', async () => {
      const stream = newStream({});
      stream.release(0, Buffer.alloc(32), false);
      await clock.advance(700.6);
      setWall();
      assert.match(keyMetadata(stream.buffer.peek() as Chunk, stream, undefined), /^\{"age":700,/);
    });

    it('lets a waiting GET_KEY have its time, and no more', async () => {
      const waiting = Promise.resolve(take(newStream({})));
      let over = false;
      waiting.catch(() => {
        over = true;
      });
      setWall();
      await clock.advance(4_999);
      assert.equal(over, false);
      await clock.advance(1);
      await assert.rejects(waiting, /TIMEOUT/);
    });

    it('lets what is cached get old in its time', async () => {
      let asked = 0;
      const unavailable = async () => {
        asked += 1;
        return new Map([['ML-KEM-768', '']]);
      };
      const assertUsable = usableAlgorithms({ unavailable }, clock);
      const terms = termsOf('xoring', ['ML-KEM-768', 'QKD']);
      await assertUsable(terms);
      setWall();
      await assertUsable(terms);
      assert.equal(asked, 1, 'asked again at once');
      await clock.advance(61_000);
      await assertUsable(terms);
      assert.equal(asked, 2, 'believed for more than a minute');
    });
  });
}
