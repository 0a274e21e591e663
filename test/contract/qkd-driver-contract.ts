import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { QkdDriver, QkdStreamName } from '../../services/qkd-source/drivers/qkd-driver.ts';

/** Two drivers, each at its own key manager, and the means to disturb the first one's. */
export interface QkdDriverPair {
  readonly a: QkdDriver;
  readonly b: QkdDriver;
  /** Makes the key manager of `a` take requests and answer none. */
  silence(): void;
  /** Makes it cut the connection in the middle of its next answer. */
  cutNext(): void;
  /** Makes it answer once that it has run dry. */
  dryOnce(): void;
  /** Makes it give a key once that the other end does not get. */
  wrongKeyOnce(): void;
  /** Makes it give the key once more that it gave last. */
  repeatOnce(): void;
  /** Switches it off, and on again with its streams. */
  switchOff(): Promise<void>;
  switchOn(): Promise<void>;
}

/** Starts a pair whose drivers wait `timeoutMs` at most; everything is stopped after the test. */
export type QkdDriverPairFactory = (t: TestContext, timeoutMs: number) => Promise<QkdDriverPair>;

const AMPLE_MS = 20_000;
const SHORT_MS = 250;
const never = new AbortController().signal;

/** A stream of its own between two nodes. */
export function qkdStreamName(epoch = 0): QkdStreamName {
  return {
    keyStreamId: randomUUID(),
    epoch,
    sourceNode: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
    destinationNode: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
  };
}

/** Opens one stream at both ends: the handles of `a` and `b`. */
export async function openBoth(
  { a, b }: Pick<QkdDriverPair, 'a' | 'b'>,
  stream = qkdStreamName(),
  keyBytes = 32,
): Promise<[string, string]> {
  const handle = await a.open(stream, keyBytes, '', never);
  return [handle, await b.open(stream, keyBytes, handle, never)];
}

const unavailable = (error: unknown) => isReason(error, 'QKD_UNAVAILABLE');
const outOfStep = (error: unknown) => isReason(error, 'QKD_OUT_OF_STEP');

/**
 * What every QKD driver must do, whatever its key manager speaks.
 *
 * @param options.hasStreams whether key managers of the driver know streams, which can be closed.
 */
export function qkdDriverContract(
  name: string,
  factory: QkdDriverPairFactory,
  { hasStreams = true }: { hasStreams?: boolean } = {},
): void {
  describe(`QKD driver contract: ${name}`, () => {
    it('reads the same keys at both ends, in whatever batches', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA, atB] = await openBoth(pair);
      const read = async (driver: QkdDriver, handle: string, batches: number[]) => {
        const parts: Buffer[] = [];
        let position = 0n;
        for (const count of batches) {
          const keys = await driver.fetch(handle, position, count, 32, never);
          assert.equal(keys.length, count * 32);
          parts.push(keys);
          position += BigInt(count);
        }
        return Buffer.concat(parts);
      };
      const keys = await read(pair.a, atA, [1, 5, 40, 2]);
      assert.deepEqual(await read(pair.b, atB, [40, 1, 7]), keys);
      const distinct = new Set(
        Array.from({ length: 48 }, (_, i) => keys.toString('hex', i * 32, i * 32 + 32)),
      );
      assert.equal(distinct.size, 48);
    });

    for (const keyBytes of [16, 33, 4096, 65_536]) {
      it(`reads keys of ${keyBytes} bytes`, async (t) => {
        const pair = await factory(t, AMPLE_MS);
        const [atA, atB] = await openBoth(pair, qkdStreamName(), keyBytes);
        const keys = await pair.a.fetch(atA, 0n, 3, keyBytes, never);
        assert.equal(keys.length, 3 * keyBytes);
        assert.deepEqual(await pair.b.fetch(atB, 0n, 3, keyBytes, never), keys);
      });
    }

    it('keeps streams and epochs apart, many at once', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const first = qkdStreamName();
      const names = [first, { ...first, epoch: 1 }, ...Array.from({ length: 98 }, () => qkdStreamName())];
      const keys = await Promise.all(
        names.map(async (stream) => {
          const [atA, atB] = await openBoth(pair, stream);
          const [fromA, fromB] = await Promise.all([
            pair.a.fetch(atA, 0n, 4, 32, never),
            pair.b.fetch(atB, 0n, 4, 32, never),
          ]);
          assert.deepEqual(fromA, fromB);
          return fromA.toString('hex');
        }),
      );
      assert.equal(new Set(keys).size, names.length);
    });

    it('gives fewer keys when the key manager runs dry, and goes on in step', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA, atB] = await openBoth(pair);
      pair.dryOnce();
      assert.equal((await pair.a.fetch(atA, 0n, 1, 32, never)).length, 0);
      const keys = await pair.a.fetch(atA, 0n, 3, 32, never);
      assert.equal(keys.length, 96);
      assert.deepEqual(await pair.b.fetch(atB, 0n, 3, 32, never), keys);
    });

    it('says that no key is lost while the key manager is off, and goes on in step', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA, atB] = await openBoth(pair);
      await pair.switchOff();
      await assert.rejects(pair.a.open(qkdStreamName(), 32, '', never), unavailable);
      await assert.rejects(pair.a.fetch(atA, 0n, 2, 32, never), unavailable);
      await pair.switchOn();
      const keys = await pair.a.fetch(atA, 0n, 2, 32, never);
      assert.deepEqual(await pair.b.fetch(atB, 0n, 2, 32, never), keys);
    });

    it('goes on at the other end while one key manager is off, and is in step when that is back', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA, atB] = await openBoth(pair);
      const before = await pair.a.fetch(atA, 0n, 4, 32, never);
      await pair.switchOff();
      await assert.rejects(pair.a.open(qkdStreamName(), 32, '', never), unavailable);
      await assert.rejects(pair.a.fetch(atA, 4n, 1, 32, never), unavailable);
      assert.deepEqual(await pair.b.fetch(atB, 0n, 4, 32, never), before);
      await pair.switchOn();
      const after = await pair.a.fetch(atA, 4n, 3, 32, never);
      assert.deepEqual(await pair.b.fetch(atB, 4n, 3, 32, never), after);
    });

    it('hands on a wrong key, which is what confirmation is for, and stays in step', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA, atB] = await openBoth(pair);
      pair.wrongKeyOnce();
      const [fromA, fromB] = [
        await pair.a.fetch(atA, 0n, 2, 32, never),
        await pair.b.fetch(atB, 0n, 2, 32, never),
      ];
      assert.notDeepEqual(fromA.subarray(0, 32), fromB.subarray(0, 32));
      assert.deepEqual(fromA.subarray(32), fromB.subarray(32));
    });

    it('hands on a repeated key, which its service finds, and stays in step', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA, atB] = await openBoth(pair);
      const first = await pair.a.fetch(atA, 0n, 1, 32, never);
      pair.repeatOnce();
      assert.deepEqual(await pair.a.fetch(atA, 1n, 1, 32, never), first);
      const third = await pair.a.fetch(atA, 2n, 1, 32, never);
      const fromB = await pair.b.fetch(atB, 0n, 3, 32, never);
      assert.deepEqual([fromB.subarray(0, 32), fromB.subarray(64)], [first, third]);
    });

    it('says that a key may be lost when an answer is cut', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA] = await openBoth(pair);
      pair.cutNext();
      await assert.rejects(pair.a.fetch(atA, 0n, 2, 32, never), outOfStep);
    });

    it('waits no longer than the timeout for a silent key manager', async (t) => {
      const pair = await factory(t, SHORT_MS);
      const [atA] = await openBoth(pair);
      pair.silence();
      await assert.rejects(pair.a.fetch(atA, 0n, 1, 32, never), outOfStep);
      await assert.rejects(pair.a.open(qkdStreamName(), 32, '', never), unavailable);
      await pair.a.close(atA, never);
    });

    it('ends with the signal of the call', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA] = await openBoth(pair);
      await assert.rejects(pair.a.fetch(atA, 0n, 1, 32, AbortSignal.abort()), unavailable);
      await assert.rejects(pair.a.open(qkdStreamName(), 32, '', AbortSignal.abort()), unavailable);
      pair.silence();
      await assert.rejects(pair.a.fetch(atA, 0n, 1, 32, AbortSignal.timeout(50)), outOfStep);
      await assert.rejects(pair.a.open(qkdStreamName(), 32, '', AbortSignal.timeout(50)), unavailable);
    });

    it('refuses a stream that the key manager does not know or that is closed', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA, atB] = await openBoth(pair);
      await assert.rejects(pair.a.fetch(randomUUID(), 0n, 1, 32, never), unavailable);
      if (!hasStreams) return;
      await pair.a.close(atA, never);
      await pair.b.close(atB, never);
      await assert.rejects(pair.a.fetch(atA, 0n, 1, 32, never), unavailable);
    });

    it('closes without complaint, known or not, on or off', async (t) => {
      const pair = await factory(t, AMPLE_MS);
      const [atA] = await openBoth(pair);
      await pair.a.close(randomUUID(), never);
      await pair.a.close('', never);
      await pair.switchOff();
      await pair.a.close(atA, never);
      await pair.a.close(atA, AbortSignal.abort());
    });
  });
}
