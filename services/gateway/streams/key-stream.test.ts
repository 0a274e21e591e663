import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { keyStream, LIVING as signal, termsOf } from '#test/helpers/streams.ts';
import type { Chunk } from './chunk-buffer.ts';
import type { KeyStream } from './key-stream.ts';

const anything = () => undefined;
const tooSmall = () => {
  throw new KeyweaveError('METADATA_TOO_SMALL', 'the metadata needs 100 bytes');
};

let stream: KeyStream;
let clock: FakeClock;

beforeEach(() => {
  stream = make({});
});

function make(qos: Partial<Qos>): KeyStream {
  const terms = termsOf('xoring', ['ML-KEM-768', 'QKD']);
  clock = new FakeClock();
  return keyStream({ terms, clock, qos: { timeoutMs: 1000, metadataMimetype: '', ...qos } });
}

const release = (first: number, count: number) => {
  stream.indexes.claim(first, count);
  stream.release(first, Buffer.alloc(count * 32, 9), false);
};
const indexOf = async (chunk: Chunk | Promise<Chunk>) => (await chunk).index;

describe('KeyStream.take', () => {
  it('takes nothing where the metadata does not fit, ready or waited for (status 8)', async () => {
    release(0, 1);
    assert.throws(() => stream.take(undefined, 1000, tooSmall, signal), /METADATA_TOO_SMALL/);
    assert.equal(await indexOf(stream.take(undefined, 1000, anything, signal)), 0);
    const waiting = stream.take(undefined, 1000, tooSmall, signal);
    release(1, 1);
    await assert.rejects(async () => waiting, /METADATA_TOO_SMALL/);
    assert.equal(await indexOf(stream.take(undefined, 1000, anything, signal)), 1);
  });

  it('puts nothing back into a stream that has ended meanwhile', async () => {
    let key: Chunk['key'] | undefined;
    const waiting = stream.take(
      undefined,
      1000,
      (chunk) => {
        key = chunk.key;
        tooSmall();
      },
      signal,
    );
    release(0, 1);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', 'closed'));
    await assert.rejects(async () => waiting, /METADATA_TOO_SMALL/);
    assert.equal(stream.buffer.size, 0);
    assert.equal(key?.wiped, true);
  });

  it('takes nothing for an application that goes while it waits for production', async () => {
    const leaving = new AbortController();
    const waiting = stream.take(undefined, 1000, anything, leaving.signal);
    leaving.abort();
    await assert.rejects(async () => waiting, /gone away/);
    release(0, 1);
    assert.equal(stream.buffer.size, 1);
  });

  it('takes nothing for one that goes while it waits for max_bps, and leaves its turn to the next', async () => {
    stream = make({ maxBps: 2560 });
    release(0, 12);
    for (let i = 0; i < 10; i++)
      assert.equal(await indexOf(stream.take(undefined, 1000, anything, signal)), i);
    const leaving = new AbortController();
    const gone = Array.from({ length: 5 }, () => stream.take(undefined, 1000, anything, leaving.signal));
    leaving.abort();
    for (const one of gone) await assert.rejects(async () => one, /gone away/);
    const next = indexOf(stream.take(undefined, 1000, anything, signal));
    await clock.advance(350);
    assert.equal(clock.pending, 0, 'it waits behind those who have gone');
    assert.equal(await next, 10);
  });
});
