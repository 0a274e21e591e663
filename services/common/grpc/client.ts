import { isIP } from 'node:net';
import { type Channel, type ChannelOptions, Channel as GrpcChannel } from '@grpc/grpc-js';
import { type Client, type CompatServiceDefinition, createClientFactory } from 'nice-grpc';
import type { Address } from '#common/config/fields.ts';
import type { ServiceName } from '#common/config/node-config.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { CLIENT_CHANNEL_OPTIONS } from '#common/grpc/channel-options.ts';
import { type DeadlineOptions, deadlineClientMiddleware } from '#common/grpc/deadline.ts';
import { errorMappingClientMiddleware } from '#common/grpc/error-mapping.ts';
import { RenewedChannel } from '#common/grpc/renewed-channel.ts';
import { REPLICAS_SCHEME } from '#common/grpc/replicas-resolver.ts';
import { leanDefinition } from '#common/grpc/wire/lean-definition.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { spiffeId } from '#common/tls/spiffe.ts';

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
  const bare = createClientFactory()
    .use(errorMappingClientMiddleware(options.unreachable, target))
    .use(deadlineClientMiddleware());
  const peer = nodeUuid === config.uuid ? undefined : nodeUuid;
  const factory = telemetry ? bare.use(telemetry.rpc.client({ service, peer })) : bare;
  return {
    client: (definition) => factory.create(leanDefinition(definition), channel as never) as never,
    close: () => channel.close(),
  };
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
