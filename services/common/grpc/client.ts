import { isIP } from 'node:net';
import { type Channel, type ChannelOptions, Channel as GrpcChannel } from '@grpc/grpc-js';
import {
  type CallOptions,
  type Client,
  type ClientFactory,
  type ClientMiddleware,
  type CompatServiceDefinition,
  createClientFactory,
} from 'nice-grpc';
import type { Address } from '#common/config/fields.ts';
import type { ServiceName } from '#common/config/node-config.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { composeClientUnary } from '#common/grpc/call-stream/compose-unary.ts';
import { StreamedCalls } from '#common/grpc/call-stream/streamed-calls.ts';
import { CLIENT_CHANNEL_OPTIONS } from '#common/grpc/channel-options.ts';
import { type DeadlineOptions, deadlineClientMiddleware } from '#common/grpc/deadline.ts';
import { errorMappingClientMiddleware } from '#common/grpc/error-mapping.ts';
import { RenewedChannel } from '#common/grpc/renewed-channel.ts';
import { REPLICAS_SCHEME } from '#common/grpc/replicas-resolver.ts';
import { bytesOf, leanDefinition } from '#common/grpc/wire/lean-definition.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { spiffeId } from '#common/tls/spiffe.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { CallStreamDefinition } from '#gen/keyweave/v1/call_stream.ts';

export type ServiceClient<D extends CompatServiceDefinition> = Client<D, DeadlineOptions>;

export interface GrpcConnection {
  /** A client of one gRPC service over this connection; every call has a deadline (5 s unless `timeoutMs` says otherwise). */
  client<D extends CompatServiceDefinition>(definition: D): ServiceClient<D>;
  close(): void;
}

export interface ConnectOptions {
  context: ServiceContext;
  address: Address;
  /** Node and service whose certificate the server must present. */
  nodeUuid: string;
  service: ServiceName;
  /** Reason of errors that come from the transport. */
  unreachable: ErrorReason;
  channelOptions?: ChannelOptions;
}

/**
 * Connects to a service of any node, lazily and with mutual TLS. A name that
 * stands for several replicas has its calls go round all of them; a stream
 * stays with the replica that it was opened at.
 */
export function connect(options: ConnectOptions): GrpcConnection {
  const { context, address, nodeUuid, service } = options;
  const { identity, config, telemetry } = context;
  const expected = spiffeId(config.certificate_config.network, nodeUuid, service);
  const makeChannel = (): Channel =>
    new GrpcChannel(targetOf(address), identity.channelCredentials(expected), {
      ...CLIENT_CHANNEL_OPTIONS,
      'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
      // TLS in Node cannot be told an IP address as the server's name; the SPIFFE id is what is checked.
      'grpc.ssl_target_name_override': service,
      'grpc.default_authority': service,
      ...options.channelOptions,
    });
  const channel = new RenewedChannel(makeChannel, identity.onChange);
  const target = nodeUuid === config.uuid ? service : `${service} of node ${nodeUuid}`;
  const peer = nodeUuid === config.uuid ? undefined : nodeUuid;
  const middleware: ClientMiddleware<DeadlineOptions>[] = [
    errorMappingClientMiddleware(options.unreachable, target),
    deadlineClientMiddleware(),
    ...(telemetry ? [telemetry.rpc.client({ service, peer })] : []),
  ];
  const bare = createClientFactory();
  const factory = middleware.reduce(
    (inner, outer) => inner.use(outer),
    bare as ClientFactory<DeadlineOptions>,
  );
  const streams = bare.create(leanDefinition(CallStreamDefinition), channel as never) as unknown as Client<
    typeof CallStreamDefinition
  >;
  const calls = new StreamedCalls({
    open: (frames, accepted) => streams.calls(frames, { onHeader: accepted }),
    streams: isIP(address.host) === 0 ? STREAMS_TO_REPLICAS : 1,
    clock: systemClock,
  });
  const unsubscribe = identity.onChange(() => calls.renew());
  return {
    client: (definition) => {
      const lean = leanDefinition(definition);
      const whole = factory.create(lean, channel as never) as unknown as Methods;
      // Health is asked of the replicas in turn, each by a call of its own.
      if (definition === (HealthDefinition as CompatServiceDefinition)) return whole as never;
      const alone = bare.create(lean, channel as never) as unknown as Methods;
      return { ...whole, ...streamedMethods(lean, alone, calls, middleware.toReversed()) } as never;
    },
    close: () => {
      unsubscribe();
      calls.renew();
      channel.close();
    },
  };
}

/** A name may stand for several replicas, and each gets some of the calls at any time. */
const STREAMS_TO_REPLICAS = 4;

type Methods = Record<string, (request: unknown, options: CallOptions) => Promise<unknown>>;

interface LeanMethod {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  requestSerialize(request: unknown): Uint8Array | ArrayBuffer;
  responseDeserialize(bytes: Uint8Array): unknown;
}

/**
 * The unary methods of a service, over streams of calls where the server has them.
 *
 * @param alone the same methods as calls of their own, without middleware.
 * @param middleware the outermost first.
 */
function streamedMethods(
  definition: CompatServiceDefinition,
  alone: Methods,
  calls: StreamedCalls,
  middleware: readonly ClientMiddleware[],
): Methods {
  const unary = Object.entries(definition as unknown as Record<string, LeanMethod>).filter(
    ([, { requestStream, responseStream }]) => !requestStream && !responseStream,
  );
  return Object.fromEntries(
    unary.map(([name, method]) => {
      const { path } = method;
      const descriptor = { path, requestStream: false, responseStream: false, options: {} };
      const byItself = alone[name] as Methods[string];
      const call = composeClientUnary(descriptor, middleware, async (request: unknown, options) => {
        const answer = await calls.call(path, bytesOf(method.requestSerialize(request)), options);
        return answer === undefined ? byItself(request, options) : method.responseDeserialize(answer);
      });
      return [name, (request, options = {}) => call(request, options)];
    }),
  );
}

/** For a connection whose calls share a session with no other connection's, even to the same address. */
export const OWN_SESSION: ChannelOptions = { 'grpc.use_local_subchannel_pool': 1 };

/** Connects to a service of the own node. */
export function connectOwn(
  context: ServiceContext,
  service: ServiceName,
  channelOptions?: ChannelOptions,
): GrpcConnection {
  return connect({
    context,
    address: context.addresses[service],
    nodeUuid: context.config.uuid,
    service,
    unreachable: 'SERVICE_UNAVAILABLE',
    ...(channelOptions && { channelOptions }),
  });
}

function targetOf({ host, port }: Address): string {
  if (isIP(host) === 0) return `${REPLICAS_SCHEME}:///${host}:${port}`;
  return `dns:///${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}
