import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { nameOf, StreamPositions } from './stream-positions.ts';

const STREAM = { keyStreamId: 'ksid', epoch: 1, qkdKeyStreamId: 'kme-1' };
const other = (i: number) => ({ ...STREAM, qkdKeyStreamId: `other-${i}` });
const outOfStep = (error: unknown) => isReason(error, 'QKD_OUT_OF_STEP');
const keys = Buffer.alloc(0);

const read = (positions: StreamPositions, position: bigint, count = 1n, stream = STREAM) =>
  positions.reading(stream, position, async () => ({ keys, read: count }));
const fails = (positions: StreamPositions, position: bigint, reason: ErrorReason) =>
  assert.rejects(
    positions.reading(STREAM, position, () => Promise.reject(new KeyweaveError(reason, 'as the test says'))),
    (error) => isReason(error, reason),
  );

describe('StreamPositions', () => {
  it('gives what was read, and refuses to read before it', async () => {
    const positions = new StreamPositions();
    positions.start(STREAM);
    assert.equal((await read(positions, 0n, 3n)).keys, keys);
    for (const position of [0n, 2n]) await assert.rejects(read(positions, position), outOfStep);
    await read(positions, 3n, 1n);
    await read(positions, 9n, 1n);
    await assert.rejects(read(positions, 9n), outOfStep);
  });

  it('tells streams apart by each part of their name', async () => {
    const changes = [{ keyStreamId: 'x' }, { epoch: 2 }, { qkdKeyStreamId: 'x' }];
    const streams = [STREAM, ...changes.map((change) => ({ ...STREAM, ...change }))];
    assert.equal(new Set(streams.map(nameOf)).size, streams.length);
    const positions = new StreamPositions();
    for (const stream of streams) await read(positions, 5n, 1n, stream);
    for (const stream of streams) await assert.rejects(read(positions, 5n, 1n, stream), outOfStep);
  });

  it('gives a stream up after a failure that may have lost a key, until it is opened anew', async () => {
    const positions = new StreamPositions();
    await fails(positions, 0n, 'QKD_UNAVAILABLE');
    await fails(positions, 0n, 'SOURCE_FAULT');
    for (const position of [0n, 1n, 100n]) await assert.rejects(read(positions, position), outOfStep);
    positions.start(STREAM);
    await read(positions, 0n);
  });

  it('does not bring back a stream that was closed while it was read', async () => {
    for (const end of ['done', 'failed'] as const) {
      const positions = new StreamPositions();
      const held = Promise.withResolvers<{ keys: Buffer; read: bigint }>();
      const reading = positions.reading(STREAM, 7n, () => held.promise);
      positions.forget(STREAM);
      if (end === 'done') held.resolve({ keys, read: 2n });
      else held.reject(new KeyweaveError('QKD_UNAVAILABLE', 'as the test says'));
      await reading.catch(() => undefined);
      // Forgotten: taken at its word.
      await read(positions, 0n);
    }
  });

  it('remembers so many streams, and lets go of the one that was used longest ago', async () => {
    const positions = new StreamPositions();
    await read(positions, 5n);
    await read(positions, 5n, 1n, other(0));
    for (let i = 1; i < 65_535; i++) positions.start(other(i));
    await assert.rejects(read(positions, 5n), outOfStep, 'all of so many');
    positions.start(other(65_535));
    await read(positions, 0n);
    // That one is new again, and the oldest is used once more before another one comes.
    const used = new StreamPositions();
    await read(used, 5n, 1n, other(0));
    for (let i = 1; i < 65_536; i++) used.start(other(i));
    await read(used, 9n, 1n, other(0));
    used.start(other(65_536));
    await assert.rejects(read(used, 5n, 1n, other(0)), outOfStep);
  });
});
