import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ClientError, Status } from 'nice-grpc';
import { PushQueue } from '#common/grpc/push-queue.ts';
import { SESSION_CALLS } from '#common/limits/message-limits.ts';
import type { CallsRequest, CallsResponse } from '#gen/keyweave/v1/call_stream.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { CallStream, CallStreamEnded } from './call-stream.ts';

const NO_BYTES = new Uint8Array();
const WORK = { path: '/a.B/Work', request: Uint8Array.of(1), metadata: { 'keyweave-peer': 'x' } };

/** A server's end in the hands of the test. */
function server({ reads = true, accepts = true } = {}) {
  const clock = new FakeClock();
  const answers = new PushQueue<CallsResponse>();
  const frames: CallsRequest[] = [];
  const state = { ended: false, failure: undefined as unknown };
  const stream = new CallStream((sent, accepted) => {
    if (accepts) accepted();
    if (reads)
      void (async () => {
        for await (const frame of sent) frames.push(frame);
        state.ended = true;
      })();
    return (async function* () {
      yield* answers;
      if (state.failure !== undefined) throw state.failure;
    })();
  }, clock);
  return {
    ...{ stream, clock, frames, state },
    answer: (call: number, response = NO_BYTES, code = 0) =>
      answers.push({ call, code, reason: '', detail: '', response }),
    break: (failure: unknown) => {
      state.failure = failure;
      answers.end();
    },
  };
}

describe('a stream of calls', () => {
  it('carries calls with their numbers, and takes the answers in any order', async () => {
    const { stream, frames, answer } = server();
    const first = stream.call({ ...WORK, timeoutMs: 1_000.5 });
    const second = stream.call({ ...WORK, request: Uint8Array.of(2), timeoutMs: 1_000 });
    await turn();
    assert.deepEqual(frames, [
      { ...WORK, call: 1, timeoutMs: 1_001 },
      { ...WORK, call: 2, timeoutMs: 1_000, request: Uint8Array.of(2) },
    ]);
    answer(7);
    answer(2, Uint8Array.of(22), 9);
    answer(1, Uint8Array.of(11));
    assert.deepEqual([(await second).code, ...(await second).response], [9, 22]);
    assert.deepEqual([(await first).code, ...(await first).response], [0, 11]);
  });

  it('gives up a call when its time is over, says so, and stays where the server answers others', async () => {
    const { stream, clock, frames, answer } = server();
    const slow = stream.call({ ...WORK, timeoutMs: 100 });
    const quick = stream.call({ ...WORK, timeoutMs: 1_000 });
    await turn();
    answer(2);
    await quick;
    const late = assert.rejects(
      slow,
      (error) => error instanceof ClientError && error.code === Status.DEADLINE_EXCEEDED,
    );
    await clock.advance(101);
    await late;
    await turn();
    assert.deepEqual(frames.at(-1), { call: 1, path: '', timeoutMs: 0, metadata: {}, request: NO_BYTES });
    assert.equal(stream.takesCalls, true);
    answer(1);
    await turn();
  });

  it('takes no more calls after one to which the server said nothing at all', async () => {
    const { stream, clock, state } = server();
    const late = assert.rejects(stream.call({ ...WORK, timeoutMs: 100 }), /DEADLINE_EXCEEDED/);
    await clock.advance(101);
    await late;
    assert.equal(stream.takesCalls, false);
    await turn();
    assert.equal(state.ended, true);
    await assert.rejects(stream.call({ ...WORK, timeoutMs: 100 }), CallStreamEnded);
  });

  it('gives up what the caller aborts, and begins nothing that is aborted before', async () => {
    const { stream, frames } = server();
    const gone = new AbortController();
    const call = stream.call({ ...WORK, timeoutMs: 1_000, signal: gone.signal });
    await turn();
    gone.abort();
    await assert.rejects(call, { name: 'AbortError' });
    await turn();
    assert.equal(frames.at(-1)?.path, '');
    await assert.rejects(stream.call({ ...WORK, timeoutMs: 1_000, signal: gone.signal }), {
      name: 'AbortError',
    });
    assert.equal(frames.length, 2);
  });

  it('ends when the server says that it stops, once what has begun is answered', async () => {
    const { stream, state, answer } = server();
    const call = stream.call({ ...WORK, timeoutMs: 1_000 });
    answer(0);
    await turn();
    assert.deepEqual([stream.takesCalls, state.ended], [false, false]);
    answer(1);
    await call;
    await turn();
    assert.equal(state.ended, true);
  });

  it('fails all that is under way when it breaks, and tells a refusal from a break', async () => {
    const denied = new ClientError('/x', Status.PERMISSION_DENIED, 'no');
    for (const [accepts, failure, isRefusal, code] of [
      [true, new ClientError('/x', Status.UNAVAILABLE, 'gone'), false, Status.UNAVAILABLE],
      [true, denied, false, Status.PERMISSION_DENIED],
      [false, denied, true, Status.PERMISSION_DENIED],
      [false, new ClientError('/x', Status.UNIMPLEMENTED, 'no'), true, Status.UNIMPLEMENTED],
      [false, new ClientError('/x', Status.UNAVAILABLE, 'gone'), false, Status.UNAVAILABLE],
      [true, new Error('odd'), false, Status.UNAVAILABLE],
      [true, undefined, false, Status.UNAVAILABLE],
    ] as const) {
      const { stream, ...far } = server({ accepts });
      const calls = [stream.call({ ...WORK, timeoutMs: 1_000 }), stream.call({ ...WORK, timeoutMs: 1_000 })];
      far.break(failure);
      for (const call of calls)
        await assert.rejects(call, (error: CallStreamEnded) => {
          assert.deepEqual([error.isRefusal, error.code], [isRefusal, code]);
          return error instanceof CallStreamEnded;
        });
      assert.equal(stream.takesCalls, false);
    }
  });

  it('keeps a bounded number of calls for a server that reads none', async () => {
    const { stream, clock } = server({ reads: false });
    const calls = Array.from({ length: SESSION_CALLS }, () => stream.call({ ...WORK, timeoutMs: 100 }));
    await assert.rejects(stream.call({ ...WORK, timeoutMs: 100 }), /UNAVAILABLE/);
    assert.equal(stream.takesCalls, false);
    const settled = Promise.allSettled(calls);
    await clock.advance(101);
    for (const { status } of await settled) assert.equal(status, 'rejected');
  });

  it('does not send what was given up before it could be sent', async () => {
    const { stream, clock, frames } = server();
    const gone = new AbortController();
    const call = stream.call({ ...WORK, timeoutMs: 100, signal: gone.signal });
    gone.abort();
    await assert.rejects(call, { name: 'AbortError' });
    await turn();
    assert.deepEqual(frames, []);
    await clock.advance(101);
  });
});
