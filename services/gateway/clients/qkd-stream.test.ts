import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import type { QkdClient } from './qkd-client.ts';
import { QkdStream } from './qkd-stream.ts';

/** A QKD stream of the responder, and a qkd-source that answers when the test says so. */
function opened() {
  const clock = new FakeClock();
  const openings: { epoch: number; signal: AbortSignal; answer: (handle: string) => void }[] = [];
  const closed: string[] = [];
  const qkd: QkdClient = {
    open: ({ epoch }, signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      signal.addEventListener('abort', () => reject(new Error('aborted')));
      openings.push({ epoch, signal, answer: resolve });
      return promise;
    },
    fetch: async () => ({ results: [], blockBytes: 0 }),
    close: async ({ qkdKeyStreamId }) => void closed.push(qkdKeyStreamId),
  };
  const stream = new QkdStream({
    tools: { qkd, clock, log: silentLog, join: 'auto' },
    keyStreamId: Buffer.alloc(16, 1),
    initiatorNode: ALICE,
    responderNode: BOB,
    keyBytes: 32,
  });
  const follow = (epoch: number, change: object = {}) =>
    stream.follow({ epoch, qkdKeyStreamId: '', position: 0n, blockKeys: 1, ...change });
  return { stream, clock, openings, closed, follow };
}

const reason = (wanted: ErrorReason) => (error: unknown) => isReason(error, wanted);

describe('QkdStream', () => {
  it('opens nothing any more once its stream has ended, whoever still has a batch under way', async () => {
    const { stream, openings } = opened();
    stream.end();
    const reference = { epoch: 3, qkdKeyStreamId: '', position: 0n, blockKeys: 1 };
    await assert.rejects(stream.follow(reference), /UNKNOWN_STREAM/);
    await assert.rejects(stream.opened(), /UNKNOWN_STREAM/);
    assert.equal(openings.length, 0);
  });

  it('gives up the openings of epochs that a peer has left', async () => {
    const { clock, openings, follow } = opened();
    const following = Array.from({ length: 20 }, (_, epoch) => follow(epoch));
    const left = Promise.allSettled(following.slice(0, -1));
    await clock.advance(10_000);
    for (const result of await left) {
      assert.ok(result.status === 'rejected' && reason('QKD_OUT_OF_STEP')(result.reason));
    }
    assert.deepEqual(
      openings.filter(({ signal }) => !signal.aborted).map(({ epoch }) => epoch),
      [19],
    );
    openings[19]?.answer('kme-19');
    await following[19];
  });

  it('closes at the key manager what is opened a moment after its epoch was left', async () => {
    const { clock, openings, closed, follow } = opened();
    void follow(0).catch(() => undefined);
    const second = follow(1);
    await clock.advance(100);
    openings[0]?.answer('kme-0');
    openings[1]?.answer('kme-1');
    await second;
    await clock.settle();
    assert.deepEqual(closed, ['kme-0']);
  });

  it('leaves an open stream alone', async () => {
    const { clock, openings, follow } = opened();
    const following = follow(0);
    openings[0]?.answer('kme-0');
    await following;
    await follow(0);
    await clock.advance(10_000);
    assert.deepEqual([openings.length, openings[0]?.signal.aborted], [1, false]);
  });

  it('reads blocks only once its key manager is known to give them', async () => {
    const { stream, openings, follow } = opened();
    await assert.rejects(follow(1, { blockKeys: 16 }), reason('QKD_UNAVAILABLE'));
    stream.noteBlockBytes(0);
    await assert.rejects(follow(1, { blockKeys: 2 }), reason('QKD_UNAVAILABLE'));
    stream.noteBlockBytes(512);
    await assert.rejects(follow(1, { blockKeys: 17 }), reason('QKD_UNAVAILABLE'));
    await assert.rejects(follow(1, { blockKeys: 65 }), reason('BAD_REQUEST'));
    const following = follow(1, { blockKeys: 16 });
    openings[0]?.answer('kme-1');
    await following;
    assert.equal(stream.fetchOf('kme-1', 20).keyBytes, 512);
    assert.equal(stream.fetchOf('kme-1', 20).count, 2);
    stream.noteBlockBytes(0);
    assert.equal(stream.givenBlockKeys, 16, 'no news changes nothing');
  });

  it('takes a name of 256 characters from the other end, and none that is longer', async () => {
    const { stream, openings, closed, follow } = opened();
    const longest = 'x'.repeat(256);
    const following = follow(0, { qkdKeyStreamId: longest });
    openings[0]?.answer('kme-0');
    await following;
    for (const length of [257, 65_536]) {
      await assert.rejects(follow(1, { qkdKeyStreamId: 'x'.repeat(length) }), (error) => {
        assert.match(String(error), /BAD_REQUEST: qkd_key_stream_id must not exceed 256 characters/);
        return true;
      });
    }
    assert.deepEqual([openings.length, closed, stream.epoch], [1, [], 0], 'what is refused changes nothing');
  });
});
