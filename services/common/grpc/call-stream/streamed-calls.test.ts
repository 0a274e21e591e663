import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ClientError, Metadata, Status } from 'nice-grpc';
import { MAX_MESSAGE_BYTES } from '#common/grpc/channel-options.ts';
import { TIMEOUT_METADATA } from '#common/grpc/deadline.ts';
import { REASON_TRAILER } from '#common/grpc/error-mapping.ts';
import type { CallsRequest, CallsResponse } from '#gen/keyweave/v1/call_stream.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { StreamedCalls } from './streamed-calls.ts';

const PATH = '/a.B/Work';
const REQUEST = Uint8Array.of(1, 2);

type Answer = (frame: CallsRequest) => Partial<CallsResponse>;

/** Calls to servers that answer at once; `opened` are the streams, each with what came on it. */
function calls(answer: Answer, { streams = 1, refusal }: { streams?: number; refusal?: ClientError } = {}) {
  const clock = new FakeClock();
  const opened: { frames: CallsRequest[]; ended: boolean }[] = [];
  const made = new StreamedCalls({
    ...{ streams, clock },
    open: (frames, accepted) =>
      (async function* () {
        const stream = { frames: [] as CallsRequest[], ended: false };
        opened.push(stream);
        if (refusal) throw refusal;
        accepted();
        for await (const frame of frames) {
          stream.frames.push(frame);
          yield { call: frame.call, code: 0, reason: '', detail: '', response: REQUEST, ...answer(frame) };
        }
        stream.ended = true;
      })(),
  });
  return { clock, opened, call: (options = {}) => made.call(PATH, REQUEST, options), made };
}

describe('calls over streams', () => {
  it('take along what the call goes with, but for what the transport says itself', async () => {
    const { call, opened } = calls(() => ({ response: Uint8Array.of(9) }));
    const metadata = Metadata({ 'keyweave-peer': 'x', 'grpc-timeout': '20m', [TIMEOUT_METADATA]: '20' });
    assert.deepEqual(await call({ metadata }), Uint8Array.of(9));
    const [frame] = opened[0]?.frames ?? [];
    assert.deepEqual(frame, {
      ...{ call: 1, path: PATH, request: REQUEST, timeoutMs: 20 },
      metadata: { 'keyweave-peer': 'x', [TIMEOUT_METADATA]: '20' },
    });
    await call();
    assert.equal(opened[0]?.frames[1]?.timeoutMs, 180_000);
  });

  it('fail with the code, the words and the reason of the far end', async () => {
    let trailer: string | undefined;
    const { call } = calls(() => ({ code: Status.ABORTED, reason: 'SOME_REASON', detail: 'words' }));
    const onTrailer = (got: Metadata) => {
      trailer = got.get(REASON_TRAILER);
    };
    await assert.rejects(call({ onTrailer }), (error: ClientError) => {
      assert.deepEqual([error.code, error.details, error.path], [Status.ABORTED, 'words', PATH]);
      return true;
    });
    assert.equal(trailer, 'SOME_REASON');
  });

  it('go by themselves for a minute where the server has no such streams', async () => {
    for (const code of [Status.UNIMPLEMENTED, Status.PERMISSION_DENIED]) {
      const { call, opened, clock, made } = calls(() => ({}), { refusal: new ClientError('/x', code, 'no') });
      assert.equal(await call(), undefined);
      assert.equal(await call(), undefined);
      assert.equal(opened.length, 1);
      await clock.advance(60_001);
      assert.equal(await call(), undefined);
      assert.equal(opened.length, 2);
      made.renew();
      assert.equal(await call(), undefined);
      assert.equal(opened.length, 3);
    }
  });

  it('fail where the server is not there, and try again each time', async () => {
    const refusal = new ClientError('/x', Status.UNAVAILABLE, 'nobody');
    const { call, opened } = calls(() => ({}), { refusal });
    for (let i = 1; i <= 2; i++) {
      await assert.rejects(
        call(),
        (error) => error instanceof ClientError && error.code === Status.UNAVAILABLE,
      );
      assert.equal(opened.length, i);
    }
  });

  it('go round their streams, and on to new ones after a while or when they are renewed', async () => {
    const { call, opened, clock, made } = calls(() => ({}), { streams: 2 });
    for (let i = 0; i < 4; i++) await call();
    assert.deepEqual(
      opened.map(({ frames }) => frames.length),
      [2, 2],
    );
    await clock.advance(10_000);
    for (let i = 0; i < 2; i++) await call();
    made.renew();
    await call();
    await turn();
    assert.deepEqual(
      opened.map(({ frames, ended }) => [frames.length, ended]),
      [
        [2, true],
        [2, true],
        [1, true],
        [1, true],
        [1, false],
      ],
    );
  });

  it('are refused here where a message is too large for a frame', async () => {
    const { made, opened } = calls(() => ({}));
    await assert.rejects(
      made.call(PATH, new Uint8Array(MAX_MESSAGE_BYTES), {}),
      (error) => error instanceof ClientError && error.code === Status.RESOURCE_EXHAUSTED,
    );
    assert.equal(opened.length, 0);
  });
});
