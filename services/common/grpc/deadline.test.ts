import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type CallOptions, Metadata } from 'nice-grpc';
import { type DeadlineOptions, deadlineClientMiddleware, TIMEOUT_METADATA } from '#common/grpc/deadline.ts';

/** What a call's options become on their way to the transport. */
async function passed(options: CallOptions & DeadlineOptions): Promise<CallOptions> {
  let seen: CallOptions | undefined;
  const call = {
    request: 'request',
    // biome-ignore lint/correctness/useYield: a call that answers at once
    async *next(request: unknown, inner: CallOptions) {
      assert.equal(request, 'request');
      seen = inner;
      return 'answer';
    },
  };
  const running = deadlineClientMiddleware()(call as never, options);
  assert.deepEqual(await running.next(), { done: true, value: 'answer' });
  if (!seen) throw new Error('the call was not made');
  return seen;
}

const timesOf = ({ metadata }: CallOptions) => {
  const both = Metadata(metadata);
  return [both.get('grpc-timeout'), both.get(TIMEOUT_METADATA)];
};

describe('the deadline of a call', () => {
  it('is five seconds where none is named, for transport and handlers alike', async () => {
    assert.deepEqual(timesOf(await passed({})), ['5000m', '5000']);
  });

  it('is what the caller names, in whole milliseconds, at least one', async () => {
    assert.deepEqual(timesOf(await passed({ timeoutMs: 250 })), ['250m', '250']);
    assert.deepEqual(timesOf(await passed({ timeoutMs: 0.2 })), ['1m', '1']);
    assert.deepEqual(timesOf(await passed({ timeoutMs: -7 })), ['1m', '1']);
    assert.deepEqual(timesOf(await passed({ timeoutMs: 10.1 })), ['11m', '11']);
  });

  it('is none for streams that live long, and leaves everything else as it is', async () => {
    const { signal } = new AbortController();
    const endless = await passed({ timeoutMs: Number.POSITIVE_INFINITY, signal });
    assert.deepEqual(endless, { signal });
    const timed = await passed({ timeoutMs: 5, signal, metadata: Metadata({ other: 'kept' }) });
    assert.equal(timed.signal, signal);
    assert.equal(Metadata(timed.metadata).get('other'), 'kept');
    assert.ok(!('timeoutMs' in timed));
  });
});
