import type { X509Certificate } from 'node:crypto';
import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import {
  type CallContext,
  type CompatServiceDefinition,
  createServer,
  type ServerMiddleware,
} from 'nice-grpc';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { authorizationInterceptor, type StreamCheck } from '#common/grpc/authorization.ts';
import { type BytesMethod, callStreamService } from '#common/grpc/call-stream/call-stream-service.ts';
import { composeServerUnary } from '#common/grpc/call-stream/compose-unary.ts';
import { anyOwnService, type CallerList, STREAM_METADATA } from '#common/grpc/callers.ts';
import { SERVER_CHANNEL_OPTIONS } from '#common/grpc/channel-options.ts';
import { errorMappingServerMiddleware } from '#common/grpc/error-mapping.ts';
import { bytesOf, leanDefinition } from '#common/grpc/wire/lean-definition.ts';
import { LimitedLog } from '#common/log/limited-log.ts';
import { boundConnections } from '#common/net/bounded-connections.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import { withListeningServers } from '#common/net/listening-servers.ts';
import { ownAddress } from '#common/net/own-address.ts';
import { healthService } from '#common/service/health.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import { appServerCredentials } from '#common/tls/app-listener.ts';
import type { TlsIdentity } from '#common/tls/identity.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { CallStreamDefinition } from '#gen/keyweave/v1/call_stream.ts';

// The library prints lines of its own beside the errors that it gives; those are told here, once.
if (!process.env.GRPC_VERBOSITY && !process.env.GRPC_NODE_VERBOSITY) setLogVerbosity(logVerbosity.NONE);

/** One gRPC service on a server. */
export interface GrpcServiceEntry {
  definition: CompatServiceDefinition;
  /** The service's full name, e.g. keyweave.v1.Hybridizer; needed only where the definition does not carry it. */
  fullName?: string;
  // The implementation's type follows from the definition; nice-grpc checks the pair at run time.
  implementation: object;
  /** SPIFFE ids that may call it, asked at every call; an empty list denies everybody. */
  callers: CallerList;
}

export interface GrpcServerOptions {
  services: readonly GrpcServiceEntry[];
  /** Where to listen; port 0 picks one. */
  address: Address;
  /** For a server that applications call; absent: services of ours, by their SPIFFE ids. */
  applications?: ApplicationClients;
}

/** Callers that have a name in their certificate, and no list: what they may do is told by what belongs to them. */
export interface ApplicationClients {
  /** Whose clients get in, and what is presented to them. */
  readonly trusted: Pick<TlsIdentity, 'pems' | 'trust' | 'onChange'>;
  /** What a certificate names its application by; undefined = nobody, who is refused. */
  nameOf(certificate: X509Certificate): string | undefined;
  /** The setting that gives the address, for messages. */
  readonly setting: string;
}

/** Whoever has shown a certificate with a name. */
export const ANYBODY: CallerList = { has: () => true };

export interface GrpcServer {
  /** With the port that was bound. */
  readonly address: Address;
  /** Lets open calls finish for the configured grace, then cuts them; never rejects. */
  stop(): Promise<void>;
}

/**
 * The one way to serve gRPC: mutual TLS, caller lists, error mapping, health,
 * message limits and a bounded graceful stop cannot be left out.
 *
 * @throws KeyweaveError BAD_CONFIG when the address cannot be bound.
 */
export async function startGrpcServer(
  context: ServiceContext,
  options: GrpcServerOptions,
): Promise<GrpcServer> {
  const { log, config, service, readiness, telemetry } = context;
  const { applications } = options;
  const identity = applications?.trusted ?? context.identity;
  const stopping = new AbortController();
  const callers = new Map<string, CallerList>(
    options.services.map((entry) => [fullNameOf(entry), entry.callers] as const),
  );
  const names = [...callers.keys()];
  const refusals = new LimitedLog({ log, subject: 'refusals of calls' });
  const own = anyOwnService(config);
  // Whoever may call a service may ask whether it serves.
  const callersOfAny = {
    has: (caller: string) => own.has(caller) || options.services.some((entry) => entry.callers.has(caller)),
  };
  callers.set(HealthDefinition.fullName, applications ? ANYBODY : callersOfAny);
  if (!applications) callers.set(CallStreamDefinition.fullName, callersOfAny);
  const openStreams = new Map<string, StreamCheck>();
  const definitions = options.services.map((entry) => leanDefinition(entry.definition));
  const paths = new Set([...definitions, leanDefinition(HealthDefinition)].flatMap(pathsOf));

  telemetry?.rpc.serves(paths);

  const bare = createServer({
    ...SERVER_CHANNEL_OPTIONS,
    ...(applications && { 'grpc.max_connection_idle_ms': config.limits.idle_timeout }),
    interceptors: [
      authorizationInterceptor({
        callers,
        trust: () => identity.trust,
        refusals,
        ...(applications && { nameOf: applications.nameOf }),
        wallNow: systemClock.wallMs,
        openStreams,
        onRefused: telemetry && ((path) => telemetry.rpc.denied(path, paths.has(path))),
      }),
    ],
  });
  const observed: ServerMiddleware[] = [
    ...(telemetry ? [telemetry.rpc.server] : []),
    errorMappingServerMiddleware(log, { details: applications !== undefined }),
  ];
  const server = observed
    .reduce((under, middleware) => under.use(middleware), bare)
    .use(endStreamsOnStop(stopping.signal));
  options.services.forEach((entry, i) => {
    server.add(definitions[i] as CompatServiceDefinition, entry.implementation as never);
  });
  server.add(HealthDefinition, healthService({ names, readiness, stopping: stopping.signal }));
  if (!applications) {
    const streamed = callStreamService({
      methods: new Map(
        options.services.flatMap((entry, i) =>
          bytesMethodsOf(definitions[i], entry.implementation, observed),
        ),
      ),
      refusalOf: ({ metadata }, path) => {
        const check = openStreams.get(metadata.get(STREAM_METADATA) ?? '');
        return check ? check(path) : 'the stream has ended';
      },
      stopping: stopping.signal,
      clock: systemClock,
    });
    server.add(leanDefinition(CallStreamDefinition), streamed as never);
  }

  const { port: wantedPort } = options.address;
  const host = ownAddress(options.address.host);
  const hostAndPort = `${host.includes(':') ? `[${host}]` : host}:${wantedPort}`;
  const listening = applications
    ? listenBounded(applications, config.limits, refusals, () =>
        server.listen(hostAndPort, appServerCredentials(applications.trusted)),
      )
    : server.listen(hostAndPort, context.identity.serverCredentials());
  const port = await listening.catch((cause: unknown) => {
    const who = applications === undefined ? service : `${applications.setting}:`;
    throw new KeyweaveError('BAD_CONFIG', `${who} cannot listen on ${host}:${wantedPort}`, { cause });
  });

  return {
    address: { host, port },
    stop: async () => {
      stopping.abort();
      const ended = server.shutdown().then(
        () => true,
        () => true,
      );
      if (!(await waitFor(ended, config.limits.shutdown_grace))) server.forceShutdown();
      refusals.close();
    },
  };
}

/** Whoever reaches a server of applications can connect to it: their connections have limits. */
async function listenBounded(
  { setting }: ApplicationClients,
  limits: NodeConfig['limits'],
  refusals: LimitedLog,
  listen: () => Promise<number>,
): Promise<number> {
  let bounded = 0;
  const port = await withListeningServers((server) => {
    bounded += 1;
    boundConnections(server, limits, (client, why) =>
      refusals.line(clientNetwork(client), 'warning', why, { client, setting }),
    );
  }, listen);
  if (bounded === 0) throw new Error('the server cannot be found, so that its connections have no limit');
  return port;
}

function fullNameOf(entry: GrpcServiceEntry): string {
  const name = entry.fullName ?? (entry.definition as { fullName?: unknown }).fullName;
  if (typeof name !== 'string')
    throw new TypeError('a gRPC service without a name cannot have a list of callers');
  return name;
}

interface LeanMethod {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  requestDeserialize(bytes: Uint8Array): unknown;
  responseSerialize(response: unknown): Uint8Array | ArrayBuffer;
}

/** The unary methods of a service by their paths, with what is around every call, for streams of calls. */
function bytesMethodsOf(
  definition: unknown,
  implementation: object,
  middleware: readonly ServerMiddleware[],
): [path: string, method: BytesMethod][] {
  return Object.entries(definition as Record<string, LeanMethod>)
    .filter(([, { requestStream, responseStream }]) => !requestStream && !responseStream)
    .map(([name, method]) => {
      const handlers = implementation as Record<string, (request: unknown, context: CallContext) => unknown>;
      const { path } = method;
      const descriptor = { path, requestStream: false, responseStream: false, options: {} };
      const call = composeServerUnary(descriptor, middleware, async (request: unknown, context) =>
        handlers[name]?.(request, context),
      );
      return [
        path,
        async (bytes, context) =>
          bytesOf(method.responseSerialize(await call(method.requestDeserialize(bytes), context))),
      ];
    });
}

/** The paths that the methods of a service are called by. */
function pathsOf(definition: CompatServiceDefinition): string[] {
  return Object.values(definition as Record<string, { path: string }>).map(({ path }) => path);
}

/** Where a service binds: the given address, with the configured listen_host where there is one. */
export function listenAddress(context: ServiceContext): Address {
  const dialled = context.addresses[context.service];
  const host = context.config.services[context.service]?.listen_host ?? dialled.host;
  return { host, port: dialled.port };
}

/** Long-lived streams would hold a graceful stop for ever: their signal fires when it begins. */
function endStreamsOnStop(stopping: AbortSignal): ServerMiddleware {
  return async function* endStreams(call, context: CallContext) {
    // Those of calls go on until the calls that have begun have ended.
    const isOfCalls = call.method.path.startsWith(`/${CallStreamDefinition.fullName}/`);
    if (isOfCalls || (!call.method.requestStream && !call.method.responseStream))
      return yield* call.next(call.request, context);
    const signal = AbortSignal.any([context.signal, stopping]);
    return yield* call.next(call.request, { ...context, signal });
  };
}
