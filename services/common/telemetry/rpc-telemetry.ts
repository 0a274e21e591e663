import { type Meter, type Span, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import {
  type CallContext,
  type CallOptions,
  type ClientMiddleware,
  Metadata,
  ServerError,
  type ServerMiddleware,
  Status,
} from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import { LabelledDurations, type MakeDurations, secondsSince } from '#common/telemetry/durations.ts';
import type { Tracing } from '#common/telemetry/tracing.ts';
import { systemClock } from '#common/time/clock.ts';

/** Whom a client calls. */
export interface RpcTarget {
  readonly service: string;
  /** UUID of the node, where it is not the own one. */
  readonly peer: string | undefined;
}

/** Metrics and spans of calls; the long-lived streams among them have neither. */
export interface RpcTelemetry {
  /** Outermost of a server's middleware. */
  readonly server: ServerMiddleware;
  /** Outermost of a client's middleware. */
  client(target: RpcTarget): ClientMiddleware;
  /** These are the paths of the methods that a server has. */
  serves(paths: Iterable<string>): void;
  /** A call was refused, since its caller is not on the list, or its certificate is not accepted. */
  denied(path: string, isKnown: boolean): void;
  /** A connection to a server was made by this key exchange; the server's choice, whatever becomes of the connection. */
  handshake(this: void, group: string | undefined): void;
}

/** Health is asked for all the time; it would hide in a trace what the trace is about. */
const UNTRACED = '/grpc.health.v1.Health/';

/** Label of methods that the server does not have: a client can name what it likes. */
const UNKNOWN_METHOD = 'unknown';

export function createRpcTelemetry(
  { meter, durations }: { meter: Meter; durations: MakeDurations },
  tracing: Tracing | undefined,
): RpcTelemetry {
  const served = new LabelledDurations(
    durations(
      'keyweave_rpc_server_duration_seconds',
      'Time in which this service answered calls, by method and gRPC status code',
    ),
    ['method', 'code'],
  );
  const called = durations(
    'keyweave_rpc_client_duration_seconds',
    'Time that calls to other services took, by service, method and outcome (ok, or the reason)',
  );
  const denials = meter.createCounter('keyweave_calls_denied_total', {
    description:
      'Calls refused because of who called: no certificate that is accepted, or not on the list of callers',
  });

  const handshakes = meter.createCounter('keyweave_tls_handshakes_total', {
    description: 'Connections made to other services, by the group of the key exchange that was negotiated',
  });

  const server: ServerMiddleware = async function* observe(call, context: CallContext) {
    const { path, requestStream, responseStream } = call.method;
    if (requestStream || responseStream) return yield* call.next(call.request, context);
    const method = path.slice(1);
    const remote = path.startsWith(UNTRACED) ? undefined : tracing?.extract(context.metadata);
    const span =
      remote && tracing?.start(method, { kind: SpanKind.SERVER, parent: remote, attributes: rpcOf(method) });
    const startedMs = systemClock.monotonicMs();
    let code = 'OK';
    try {
      const answer = call.next(call.request, context);
      // A unary call is one step of its generator: what it does is done as part of the span.
      const { value } =
        span && tracing ? await tracing.run(tracing.within(span), () => answer.next()) : await answer.next();
      return value as never;
    } catch (thrown) {
      code = codeOf(thrown);
      throw thrown;
    } finally {
      served.of(method, code).record(secondsSince(startedMs));
      end(span, code, code === 'OK' ? undefined : code);
    }
  };

  const client = ({ service, peer }: RpcTarget): ClientMiddleware => {
    const took = new LabelledDurations(called, ['method', 'outcome'], {
      target: service,
      ...(peer && { peer }),
    });
    return async function* observe(call, options: CallOptions) {
      const { path, requestStream, responseStream } = call.method;
      if (requestStream || responseStream) return yield* call.next(call.request, options);
      const method = path.slice(1);
      const parent = path.startsWith(UNTRACED) ? undefined : tracing?.active();
      const span =
        parent &&
        tracing?.start(method, {
          kind: SpanKind.CLIENT,
          parent,
          attributes: {
            ...rpcOf(method),
            'keyweave.service': service,
            ...(peer && { 'keyweave.peer': peer }),
          },
        });
      const startedMs = systemClock.monotonicMs();
      let outcome = 'ok';
      try {
        if (!span || !tracing) return yield* call.next(call.request, options);
        const metadata = Metadata(options.metadata);
        tracing.inject(tracing.within(span), metadata);
        return yield* call.next(call.request, { ...options, metadata });
      } catch (thrown) {
        outcome = thrown instanceof KeyweaveError ? thrown.reason : 'aborted';
        throw thrown;
      } finally {
        took.of(method, outcome).record(secondsSince(startedMs));
        end(span, codeOfOutcome(outcome), outcome === 'ok' ? undefined : outcome);
      }
    };
  };

  return {
    server,
    client,
    serves: (paths) => {
      // A rate begins at what was there before.
      for (const path of paths) denials.add(0, { method: path.slice(1) });
      denials.add(0, { method: UNKNOWN_METHOD });
    },
    denied: (path, isKnown) => denials.add(1, { method: isKnown ? path.slice(1) : UNKNOWN_METHOD }),
    handshake: (group = 'unknown') => handshakes.add(1, { group: group.slice(0, 32) }),
  };
}

function rpcOf(method: string) {
  return { 'rpc.system.name': 'grpc', 'rpc.method': method };
}

/** @param error what went wrong, in a word. */
function end(span: Span | undefined, code: string, error: string | undefined): void {
  if (!span) return;
  span.setAttribute('rpc.response.status_code', code);
  if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR }).setAttribute('error.type', error);
  span.end();
}

/** Of the client's side. */
function codeOfOutcome(outcome: string): string {
  if (outcome === 'ok') return 'OK';
  return isErrorReason(outcome) ? (Status[STATUS_TABLE[outcome].grpc] ?? 'UNKNOWN') : 'CANCELLED';
}

function codeOf(thrown: unknown): string {
  if (thrown instanceof ServerError) return Status[thrown.code] ?? 'UNKNOWN';
  return thrown instanceof Error && thrown.name === 'AbortError' ? 'CANCELLED' : 'UNKNOWN';
}
