import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { SpanKind, trace } from '@opentelemetry/api';
import { type CallContext, Metadata, ServerError, Status } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type TelemetryOfTest, telemetryOfTest } from '#test/helpers/telemetry.ts';

const PATH = '/keyweave.v1.Hybridizer/Derive';
const METHOD = 'keyweave.v1.Hybridizer/Derive';
const PEER = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';

let test: TelemetryOfTest;
beforeEach(() => {
  test = telemetryOfTest();
});
afterEach(() => test.close());

type Middleware = (call: never, options: never) => AsyncGenerator<unknown, unknown, undefined>;

/** What a middleware makes of a unary call of `path` that `handler` answers. */
async function through(
  middleware: unknown,
  handler: (options: { metadata?: Metadata }) => unknown,
  options: object = { metadata: Metadata() },
  path = PATH,
): Promise<unknown> {
  const call = {
    method: { path, requestStream: false, responseStream: false },
    request: {},
    // biome-ignore lint/correctness/useYield: a unary call has an answer and nothing before it
    async *next(_request: unknown, passed: { metadata?: Metadata }) {
      return await handler(passed);
    },
  };
  const { value } = await (middleware as Middleware)(call as never, options as never).next();
  return value;
}

const count = async (name: string) => (await test.samples()).get(name);

describe('the server side', () => {
  const server = (handler: () => unknown, metadata = Metadata()) =>
    through(test.telemetry.rpc.server, handler, { metadata } as Partial<CallContext>);

  it('measures calls by method and code', async () => {
    assert.equal(await server(() => 'answer'), 'answer');
    const refusal = new ServerError(Status.NOT_FOUND, 'not here');
    await assert.rejects(
      server(() => Promise.reject(refusal)),
      refusal,
    );
    await assert.rejects(server(() => Promise.reject(new DOMException('gone', 'AbortError'))));
    for (const code of ['OK', 'NOT_FOUND', 'CANCELLED']) {
      const name = `keyweave_rpc_server_duration_seconds_count{method="${METHOD}",code="${code}"}`;
      assert.equal(await count(name), 1, code);
    }
  });

  it('continues a trace that the caller records, and begins none', async () => {
    await server(() => 'answer');
    assert.deepEqual(await test.spans(), []);
    const [traceId, spanId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
    let inside: string | undefined;
    const traced = Metadata({ traceparent: `00-${traceId}-${spanId}-01` });
    await server(() => {
      inside = trace.getActiveSpan()?.spanContext().traceId;
    }, traced);
    const [span] = await test.spans();
    assert.equal(inside, traceId);
    assert.equal(span?.spanContext().traceId, traceId);
    assert.equal(span?.parentSpanContext?.spanId, spanId);
    assert.equal(span?.kind, SpanKind.SERVER);
    assert.deepEqual(span?.attributes, {
      'rpc.system.name': 'grpc',
      'rpc.method': METHOD,
      'rpc.response.status_code': 'OK',
    });
  });

  for (const traceparent of [
    '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00',
    '00-00000000000000000000000000000000-b7ad6b7169203331-01',
    'x'.repeat(10_000),
    '',
  ]) {
    it(`makes nothing of the traceparent ${traceparent.slice(0, 60)}`, async () => {
      await server(() => 'answer', Metadata({ traceparent }));
      assert.deepEqual(await test.spans(), []);
    });
  }

  it('counts denials, those of methods that there are not as one', async () => {
    test.telemetry.rpc.denied(PATH, true);
    for (let i = 0; i < 3; i++) test.telemetry.rpc.denied(`/made.up/${i}`, false);
    assert.equal(await count(`keyweave_calls_denied_total{method="${METHOD}"}`), 1);
    assert.equal(await count('keyweave_calls_denied_total{method="unknown"}'), 3);
  });
});

describe('the client side', () => {
  const call = (handler: (options: { metadata?: Metadata }) => unknown, path = PATH) =>
    through(test.telemetry.rpc.client({ service: 'hybridizer', peer: PEER }), handler, {}, path);

  it('measures calls by target, method and reason', async () => {
    assert.equal(await call(() => 'answer'), 'answer');
    await assert.rejects(call(() => Promise.reject(new KeyweaveError('TIMEOUT', 'late'))));
    await assert.rejects(call(() => Promise.reject(new Error('something else'))));
    for (const outcome of ['ok', 'TIMEOUT', 'aborted']) {
      const labels = `target="hybridizer",peer="${PEER}",method="${METHOD}",outcome="${outcome}"`;
      assert.equal(await count(`keyweave_rpc_client_duration_seconds_count{${labels}}`), 1, outcome);
    }
  });

  it('sends along what it is part of, while that lasts', async () => {
    const { tracing } = test.telemetry;
    const span = tracing?.start('outer', { parent: undefined });
    assert.ok(tracing && span);
    const sent: (string | undefined)[] = [];
    const note = ({ metadata }: { metadata?: Metadata }) => void sent.push(metadata?.get('traceparent'));
    const within = tracing.within(span);
    await tracing.run(within, () => call(note));
    await tracing.run(within, () => call(note, '/grpc.health.v1.Health/Check'));
    span.end();
    await tracing.run(within, () => call(note));
    const [inner, outer] = await test.spans();
    const { traceId, spanId } = inner?.spanContext() ?? {};
    assert.deepEqual(sent, [`00-${traceId}-${spanId}-01`, undefined, undefined]);
    assert.equal(inner?.parentSpanContext?.spanId, outer?.spanContext().spanId);
    assert.equal(inner?.attributes['keyweave.peer'], PEER);
  });
});
