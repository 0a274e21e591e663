import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { NodeServices } from './node-services.ts';
import { QkdStream } from './qkd-stream.ts';

/** A link of the responder, and a qkd-source that answers when the test says so. */
function linked(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const openings: { epoch: number; signal: AbortSignal; answer: (handle: string) => void }[] = [];
  const closed: string[] = [];
  const qkdSource = {
    openQkd: ({ epoch }: { epoch: number }, { signal }: { signal: AbortSignal }) => {
      const { promise, resolve, reject } = Promise.withResolvers<{ qkdKeyStreamId: string }>();
      signal.addEventListener('abort', () => reject(new Error('aborted')));
      openings.push({ epoch, signal, answer: (qkdKeyStreamId) => resolve({ qkdKeyStreamId }) });
      return promise;
    },
    closeQkd: async ({ qkdKeyStreamId }: { qkdKeyStreamId: string }) => void closed.push(qkdKeyStreamId),
  };
  const services = { qkdSource, qkd: nodeConfigSchema.shape.qkd.parse({}), log: silentLog };
  const link = new QkdStream({
    services: services as unknown as NodeServices,
    keyStreamId: Buffer.alloc(16, 1),
    initiatorNode: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
    responderNode: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
    keyBytes: 32,
  });
  const follow = (epoch: number, change: object = {}) =>
    link.follow({ epoch, qkdKeyStreamId: '', position: 0n, blockKeys: 1, ...change });
  return { link, openings, closed, follow };
}

const reason = (wanted: ErrorReason) => (error: unknown) => isReason(error, wanted);
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('QkdStream', () => {
  it('opens nothing any more once its stream has ended, whoever still has a batch under way', async (t) => {
    const { link, openings } = linked(t);
    link.end();
    const reference = { epoch: 3, qkdKeyStreamId: '', position: 0n, blockKeys: 1 };
    await assert.rejects(link.follow(reference), /UNKNOWN_STREAM/);
    await assert.rejects(link.opened(), /UNKNOWN_STREAM/);
    assert.equal(openings.length, 0);
  });

  it('gives up the openings of epochs that a peer has left', async (t) => {
    const { openings, follow } = linked(t);
    const following = Array.from({ length: 20 }, (_, epoch) => follow(epoch));
    const left = Promise.allSettled(following.slice(0, -1));
    t.mock.timers.tick(10_000);
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

  it('closes at the key manager what is opened a moment after its epoch was left', async (t) => {
    const { openings, closed, follow } = linked(t);
    void follow(0).catch(() => undefined);
    const second = follow(1);
    t.mock.timers.tick(100);
    openings[0]?.answer('kme-0');
    openings[1]?.answer('kme-1');
    await second;
    await settled();
    assert.deepEqual(closed, ['kme-0']);
  });

  it('leaves an open stream alone', async (t) => {
    const { openings, follow } = linked(t);
    const following = follow(0);
    openings[0]?.answer('kme-0');
    await following;
    await follow(0);
    t.mock.timers.tick(10_000);
    assert.deepEqual([openings.length, openings[0]?.signal.aborted], [1, false]);
  });

  it('reads blocks only once its key manager is known to give them', async (t) => {
    const { link, openings, follow } = linked(t);
    await assert.rejects(follow(1, { blockKeys: 16 }), reason('QKD_UNAVAILABLE'));
    link.noteBlockBytes(0);
    await assert.rejects(follow(1, { blockKeys: 2 }), reason('QKD_UNAVAILABLE'));
    link.noteBlockBytes(512);
    await assert.rejects(follow(1, { blockKeys: 17 }), reason('QKD_UNAVAILABLE'));
    await assert.rejects(follow(1, { blockKeys: 65 }), reason('BAD_REQUEST'));
    const following = follow(1, { blockKeys: 16 });
    openings[0]?.answer('kme-1');
    await following;
    assert.equal(link.fetchOf('kme-1', 20).keyBytes, 512);
    assert.equal(link.fetchOf('kme-1', 20).count, 2);
    link.noteBlockBytes(0);
    assert.equal(link.givenBlockKeys, 16, 'no news changes nothing');
  });

  it('takes no name of any length from the other end', async (t) => {
    const { openings, follow } = linked(t);
    await assert.rejects(follow(0, { qkdKeyStreamId: 'x'.repeat(257) }), reason('BAD_REQUEST'));
    assert.equal(openings.length, 0);
  });
});
