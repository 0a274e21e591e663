import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Span, trace } from '@opentelemetry/api';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { streamHash } from '#common/ids/stream-hash.ts';
import type { Tracing } from '#common/telemetry/tracing.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { keyStream } from '#test/helpers/streams.ts';
import { type TelemetryOfTest, telemetryOfTest } from '#test/helpers/telemetry.ts';
import { TracedBatches } from './traced-batches.ts';

const stream = keyStream();
let test: TelemetryOfTest;
let tracing: Tracing;
let clock: FakeClock;
let batches: TracedBatches;
beforeEach(() => {
  test = telemetryOfTest();
  tracing = test.telemetry.tracing as Tracing;
  clock = new FakeClock();
  batches = new TracedBatches(tracing, clock);
});
afterEach(() => test.close());

/** A round of one batch whose halves note which span is around them. */
function round(first = 0) {
  const around: (Span | undefined)[] = [];
  const halves = {
    offer: async () => void around.push(trace.getActiveSpan()),
    finish: async () => void around.push(trace.getActiveSpan()),
  };
  return { watched: batches.watch(halves as never, [{ stream, first, count: 4 }]), around };
}

const request = (name = 'GET_KEY') => tracing.start(name, { parent: undefined }) as Span;
const ended = async (name: string) => (await test.spans()).filter((span) => span.name === name);

describe('TracedBatches', () => {
  it('makes a batch part of the trace of the request that waits for it, and links it to the others', async () => {
    const [one, other] = [request(), request()];
    batches.wanted(stream.id, tracing.within(one));
    batches.wanted(stream.id, tracing.within(other));
    const { watched, around } = round(7);
    await watched.offer();
    await watched.finish();
    assert.deepEqual(await ended('keyweave.batch'), []);
    batches.released(stream, 7);
    const [span] = await ended('keyweave.batch');
    assert.equal(span?.parentSpanContext?.spanId, one.spanContext().spanId);
    assert.deepEqual(
      span?.links.map(({ context }) => context.spanId),
      [other.spanContext().spanId],
    );
    assert.deepEqual(
      around.map((each) => each?.spanContext().spanId),
      [span?.spanContext().spanId, span?.spanContext().spanId],
    );
    assert.equal(span?.attributes['keyweave.stream'], streamHash(stream.id));
    assert.equal(span?.attributes['keyweave.first_index'], 7);
  });

  it('begins a trace for a batch that nobody waits for, or nobody any more', async () => {
    const one = request();
    batches.wanted(stream.id, tracing.within(one))();
    round(1);
    batches.released(stream, 1);
    const [span] = await ended('keyweave.batch');
    assert.equal(span?.parentSpanContext, undefined);
  });

  it('makes the next batch no part of a trace that has had its own', async () => {
    const one = request();
    batches.wanted(stream.id, tracing.within(one));
    for (const first of [0, 4]) {
      round(first);
      batches.released(stream, first);
    }
    const parents = (await ended('keyweave.batch')).map((span) => span.parentSpanContext?.spanId);
    assert.deepEqual(parents, [one.spanContext().spanId, undefined]);
  });

  it('links a request to the batch that is under way when it comes', async () => {
    round(0);
    const late = request();
    batches.wanted(stream.id, tracing.within(late));
    late.end();
    batches.released(stream, 0);
    const [[span], [asked]] = [await ended('keyweave.batch'), await ended('GET_KEY')];
    assert.equal(asked?.links[0]?.context.spanId, span?.spanContext().spanId);
  });

  it('ends with the reason of a batch that was dropped, and with the stream', async () => {
    round(0);
    batches.dropped(stream, 0, 4, new KeyweaveError('QKD_UNAVAILABLE', 'no link'));
    round(4);
    batches.closed(stream);
    const reasons = (await ended('keyweave.batch')).map((span) => span.attributes['error.type']);
    assert.deepEqual(reasons, ['QKD_UNAVAILABLE', undefined]);
  });

  it('ends a while after the round where neither is told', async () => {
    const { watched } = round(0);
    await watched.finish();
    await clock.advance(4_999);
    assert.equal((await ended('keyweave.batch')).length, 0);
    await clock.advance(1);
    assert.equal((await ended('keyweave.batch')).length, 1);
    batches.released(stream, 0);
    batches.closed(stream);
  });

  it('remembers so many requests of a stream and no more', async () => {
    const forget = Array.from({ length: 10 }, () => batches.wanted(stream.id, tracing.within(request())));
    round(0);
    for (const each of forget) each();
    batches.released(stream, 0);
    const [span] = await ended('keyweave.batch');
    assert.equal(span?.links.length, 3);
  });
});
