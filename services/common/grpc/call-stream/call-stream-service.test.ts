import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type CallContext, Metadata, ServerError, Status } from 'nice-grpc';
import { isReason } from '#common/errors/keyweave-error.ts';
import { CALLER_METADATA, callerOf } from '#common/grpc/callers.ts';
import { MAX_MESSAGE_BYTES } from '#common/grpc/channel-options.ts';
import { REASON_TRAILER } from '#common/grpc/error-mapping.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import { SESSION_CALLS } from '#common/limits/message-limits.ts';
import type { CallsRequest, CallsResponse } from '#gen/keyweave/v1/call_stream.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { type BytesMethod, callStreamService } from './call-stream-service.ts';

const PATH = '/a.B/Work';
const NO_BYTES = new Uint8Array();

const frame = (call: number, more: Partial<CallsRequest> = {}): CallsRequest => ({
  ...{ call, path: PATH, timeoutMs: 1_000, metadata: {}, request: Uint8Array.of(call) },
  ...more,
});
const answerTo = (call: number, more: Partial<CallsResponse> = {}): CallsResponse => ({
  ...{ call, code: 0, reason: '', detail: '', response: NO_BYTES },
  ...more,
});

function service(method: BytesMethod, refusalOf: (path: string) => string | undefined = () => undefined) {
  const clock = new FakeClock();
  const stopping = new AbortController();
  const made = callStreamService({
    methods: new Map([[PATH, method]]),
    refusalOf: (_stream, path) => refusalOf(path),
    ...{ stopping: stopping.signal, clock },
  });
  /** A caller's end of a stream; `read` takes the answers that are there. */
  const open = (caller = 'spiffe://n/x', reads = true, peer = '127.0.0.1:1') => {
    const frames = new PushQueue<CallsRequest>();
    const answers: CallsResponse[] = [];
    const state = { headed: false, over: undefined as unknown };
    const context = {
      metadata: Metadata({ [CALLER_METADATA]: caller }),
      peer,
      sendHeader: () => {
        state.headed = true;
      },
    } as unknown as CallContext;
    const stream = made.calls(frames, context);
    const read = async () => {
      try {
        for await (const answer of stream) answers.push(answer);
        state.over = 'ended';
      } catch (error) {
        state.over = error;
      }
    };
    if (reads) void read();
    return { frames, answers, state, stream, read };
  };
  return { open, clock, stopping };
}

describe('the service of streams of calls', () => {
  it('answers each call as soon as it is done, and ends when the caller has and all are answered', async () => {
    const slow = Promise.withResolvers<Uint8Array>();
    const { open } = service(async (request) => (request[0] === 1 ? slow.promise : request));
    const { frames, answers, state } = open();
    frames.push(frame(1));
    frames.push(frame(2));
    frames.end();
    await turn();
    assert.deepEqual(answers, [answerTo(2, { response: Uint8Array.of(2) })]);
    assert.deepEqual(state, { headed: true, over: undefined });
    slow.resolve(Uint8Array.of(11));
    await turn();
    assert.deepEqual(answers[1], answerTo(1, { response: Uint8Array.of(11) }));
    assert.equal(state.over, 'ended');
  });

  it("gives handlers the call's metadata and the stream's caller, whatever the call says of that", async () => {
    const seen: unknown[] = [];
    const { open } = service(async (_request, { metadata }) => {
      seen.push(callerOf(metadata), metadata.get('keyweave-peer'));
      return NO_BYTES;
    });
    open('spiffe://n/broker').frames.push(
      frame(1, { metadata: { [CALLER_METADATA]: 'spiffe://n/admin', 'keyweave-peer': 'x' } }),
    );
    await turn();
    assert.deepEqual(seen, ['spiffe://n/broker', 'x']);
  });

  it('says why a call has failed, and nothing of what nobody expected', async () => {
    const { open } = service(
      async ([what], { trailer }) => {
        if (what === 1) {
          trailer.set(REASON_TRAILER, 'SOME_REASON');
          throw new ServerError(Status.ABORTED, 'words');
        }
        if (what === 2) throw new Error('secret');
        return new Uint8Array(MAX_MESSAGE_BYTES);
      },
      (path) => (path === '/a.B/Denied' ? 'not on the list' : undefined),
    );
    const { frames, answers } = open();
    for (const call of [1, 2, 3]) frames.push(frame(call));
    frames.push(frame(4, { path: '/a.B/Denied' }));
    frames.push(frame(5, { path: '/a.B/Other' }));
    frames.push(frame(6, { metadata: { 'not a name': 'x' } }));
    await turn();
    assert.deepEqual(
      answers.toSorted((a, b) => a.call - b.call),
      [
        answerTo(1, { code: Status.ABORTED, reason: 'SOME_REASON', detail: 'words' }),
        answerTo(2, { code: Status.CANCELLED, detail: 'the call was given up' }),
        answerTo(3, { code: Status.RESOURCE_EXHAUSTED, detail: 'the answer is too large' }),
        answerTo(4, { code: Status.PERMISSION_DENIED, detail: 'not on the list' }),
        answerTo(5, { code: Status.UNIMPLEMENTED, detail: 'the server has no such method' }),
        answerTo(6, { code: Status.CANCELLED, detail: 'the call was given up' }),
      ],
    );
  });

  it('tells handlers when the caller gives up, when the time is over, and when the stream breaks', async () => {
    const aborted: (number | undefined)[] = [];
    const { open, clock } = service(([call], { signal }) => {
      signal.addEventListener('abort', () => aborted.push(call));
      return new Promise(() => undefined);
    });
    const { frames, stream } = open();
    for (const call of [1, 2, 3]) frames.push(frame(call, { timeoutMs: call * 1_000 }));
    await turn();
    frames.push({ ...frame(1), path: '' });
    await turn();
    assert.deepEqual(aborted, [1]);
    await clock.advance(2_001);
    assert.deepEqual(aborted, [1, 2]);
    frames.push(frame(0));
    await turn();
    assert.deepEqual(aborted, [1, 2, 3]);
    await stream.return(undefined);
  });

  it('ends a stream on which a number comes twice, or none', async () => {
    for (const second of [1, 0]) {
      const { open } = service(() => new Promise(() => undefined));
      const { frames, state } = open();
      frames.push(frame(1));
      frames.push(frame(second));
      await turn();
      assert.ok(isReason(state.over, 'BAD_REQUEST'), String(state.over));
    }
  });

  it('hears no more calls while as many as may be are under way or unread', async () => {
    let begun = 0;
    const { open } = service(async () => {
      begun += 1;
      return NO_BYTES;
    });
    const { frames, read, answers } = open('spiffe://n/x', false);
    const all = SESSION_CALLS + 100;
    for (let call = 1; call <= all; call++) frames.push(frame(call));
    frames.end();
    void read();
    for (let i = 0; i < 5; i++) await turn();
    assert.equal(answers.length, all);
    assert.equal(begun, all);

    const unread = open('spiffe://n/x', false);
    for (let call = 1; call <= all; call++) unread.frames.push(frame(call));
    await unread.stream.next();
    for (let i = 0; i < 5; i++) await turn();
    assert.ok(begun - all <= SESSION_CALLS + 1, `${begun - all} were begun`);
    await unread.stream.return(undefined);
  });

  it('tells that it stops, on streams that are open and on new ones', async () => {
    const { open, stopping, clock } = service(async (request) => request);
    const before = open();
    await turn();
    stopping.abort();
    const after = open();
    after.frames.push(frame(1));
    await turn();
    assert.deepEqual(before.answers, [answerTo(0)]);
    assert.deepEqual(after.answers, [answerTo(0), answerTo(1, { response: Uint8Array.of(1) })]);
    // Whoever does not end its half does not hold the server.
    await clock.advance(501);
    assert.deepEqual([before.state.over, after.state.over], ['ended', 'ended']);
  });

  it('lets no connection have more than a number of streams, and others theirs', async () => {
    const { open } = service(async () => NO_BYTES);
    const streams = Array.from({ length: 64 }, () => open());
    await turn();
    const more = open();
    const other = open('spiffe://n/x', true, '127.0.0.1:2');
    await turn();
    assert.ok(isReason(more.state.over, 'LIMIT_EXCEEDED'), String(more.state.over));
    assert.equal(other.state.over, undefined);
    streams[0]?.frames.end();
    await turn();
    const later = open();
    await turn();
    assert.equal(later.state.over, undefined);
  });
});
