import { z } from 'zod';
import { ensureNodeCertificates } from '#certs/ensure.ts';
import { startRenewal } from '#certs/renewal.ts';
import { addressField } from '#common/config/fields.ts';
import { loadConfig } from '#common/config/load.ts';
import { type NodeConfig, SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import { watchTrustedPeers } from '#common/config/trusted-peers-file.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { parseJson } from '#common/json/parse-json.ts';
import { createLogger } from '#common/log/logger.ts';
import { heedHangup } from '#common/service/hangup.ts';
import { giveHeapRoom } from '#common/service/heap-room.ts';
import { trimHeap } from '#common/service/trim-heap.ts';
import { Readiness } from '#common/service/readiness.ts';
import type { RunningService, ServiceAddresses, ServiceContext } from '#common/service/service-context.ts';
import type { ServiceMessage, SupervisorMessage } from '#common/service/supervision.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { watchExpiry } from '#common/tls/expiry-watch.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { keyManagerCertificates } from '#common/tls/node-certificates.ts';
import { configuredHealthPort } from '../configured-health-port.ts';
import { optimise } from '../service-runtime.ts';

const DEFAULT_PORTS: Readonly<Record<ServiceName, number>> = {
  gateway: 50051,
  'qkd-source': 50052,
  'pqc-source': 50053,
  hybridizer: 50054,
  'peer-broker': 50055,
};

/** Started by a supervisor, whether or not it still lives. */
const SUPERVISED = process.send !== undefined;

/** Time beyond the configured grace after which a stop is forced. */
const FORCE_MARGIN_MS = 3_000;

/** The same for a service that got a signal and no word from its supervisor, which stops the gateway before it. */
const NO_WORD_MARGIN_MS = 5_000;

const addressesSchema = z.partialRecord(z.enum(SERVICE_NAMES), addressField);

/** How to start each service; loaded only when it is the one. */
const STARTERS: Readonly<
  Record<ServiceName, () => Promise<(context: ServiceContext) => Promise<RunningService>>>
> = {
  gateway: async () => (await import('../../gateway/main.ts')).startGateway,
  'qkd-source': async () => (await import('../../qkd-source/main.ts')).startQkdSource,
  'pqc-source': async () => (await import('../../pqc-source/main.ts')).startPqcSource,
  'peer-broker': async () => (await import('../../peer-broker/main.ts')).startPeerBroker,
  hybridizer: async () => (await import('../../hybridizer/main.ts')).startHybridizer,
};

/** Runs one service until SIGTERM, SIGINT or the loss of its supervisor. */
export async function runService(
  name: string,
  options: { config: string; peers: string; addresses?: string },
): Promise<void> {
  try {
    await serve(serviceName(name), options);
  } catch (thrown) {
    const error = KeyweaveError.from(thrown);
    tell({
      type: 'failed',
      reason: error.reason,
      detail: error.reason === 'INTERNAL' ? String(thrown) : error.detail,
    });
    throw thrown;
  }
}

async function serve(
  service: ServiceName,
  options: { config: string; peers: string; addresses?: string },
): Promise<void> {
  const config = loadConfig(options.config);
  const log = createLogger({ service, config: config.logging_config });
  // Under a supervisor the node as a whole has the one health port that is configured.
  const readiness = new Readiness();
  const health = SUPERVISED ? undefined : await configuredHealthPort(config, readiness);
  const peers = watchTrustedPeers(options.peers, { log });
  await ensureNodeCertificates(config, [service], log);
  const identity = loadTlsIdentity({ ...certificateFiles(config, service), log });
  const context: ServiceContext = {
    service,
    config,
    peers: peers.current,
    onPeersChange: peers.onChange,
    log,
    identity,
    readiness,
    addresses: addressesOf(config, options.addresses),
  };
  const running = await (await STARTERS[service]())(context);
  const expiry = watchExpiry({
    certificates: () => [
      ...identity.certificates(),
      ...(service === 'qkd-source' ? keyManagerCertificates(config) : []),
    ],
    // The CAs are the same for all services: where a supervisor runs them all, one speaks for them.
    isLogged: ({ kind, path }) =>
      kind === 'own' || !SUPERVISED || service === 'peer-broker' || path === config.qkd.tls?.ca_path,
    log,
  });
  readiness.add('certificates', expiry.problem);
  // A supervisor renews what all its services have.
  const renewal = SUPERVISED ? undefined : startRenewal(config, [service], { log });
  readiness.started();
  const listening = { ...running.listening, ...(health && { health: health.address }) };
  log.info(
    'serving',
    Object.fromEntries(Object.entries(listening).map(([name, { host, port }]) => [name, `${host}:${port}`])),
  );

  const stop = async (why: string) => {
    log.info('stopping', { why });
    readiness.stopping();
    setTimeout(() => process.exit(1), config.limits.shutdown_grace + FORCE_MARGIN_MS).unref();
    await running.stop();
    await health?.close();
    renewal?.close();
    expiry.close();
    peers.close();
    identity.close();
    process.exit(0);
  };
  const stopNow = once(stop);
  heedHangup({ reopen: log.reopen, ...(!SUPERVISED && { stop: () => stopNow('the terminal is gone') }) });
  heedSignals(stopNow, config.limits.shutdown_grace + NO_WORD_MARGIN_MS);
  process.on('message', ({ type }: SupervisorMessage) => {
    if (type === 'readiness') void readiness.problems().then((problems) => tell({ type, problems }));
    else if (type === 'reopen-log') log.reopen();
    else stopNow('the supervisor says so');
  });
  process.on('unhandledRejection', (reason) => {
    log.error('unhandled rejection', {}, reason);
    process.exit(1);
  });
  optimise();
  giveHeapRoom();
  trimHeap();
  if (process.send) tell({ type: 'ready', listening });
  else process.stdout.write(`${JSON.stringify({ ready: true, service, uuid: config.uuid, listening })}\n`);
}

function once(stop: (why: string) => Promise<void>): (why: string) => void {
  let stopping = false;
  return (why) => {
    if (stopping) return;
    stopping = true;
    void stop(why);
  };
}

/**
 * Stops at a signal. Ctrl-C and service managers signal all processes of a
 * node at once, which are to stop in order: a supervised service tells its
 * supervisor, and waits for the word `noWordMs` at most.
 */
function heedSignals(stop: (why: string) => void, noWordMs: number): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (!SUPERVISED) return stop(signal);
      tell({ type: 'signalled' });
      setTimeout(() => stop(`${signal}, and no word from the supervisor`), noWordMs).unref();
    });
  }
  // A supervisor that dies without a word must not leave its services behind, not even one that was starting.
  process.on('disconnect', () => stop('the supervisor is gone'));
  if (SUPERVISED && !process.connected) stop('the supervisor is gone');
}

function tell(message: ServiceMessage): void {
  if (process.connected) process.send?.(message);
}

function serviceName(name: string): ServiceName {
  if ((SERVICE_NAMES as readonly string[]).includes(name)) return name as ServiceName;
  throw new KeyweaveError(
    'BAD_CONFIG',
    `there is no service ${JSON.stringify(name)}; there are ${SERVICE_NAMES.join(', ')}`,
  );
}

/** Given addresses first, then those of the configuration, then the defaults on loopback. */
function addressesOf(config: NodeConfig, json: string | undefined): ServiceAddresses {
  const given = json === undefined ? {} : addressesSchema.parse(parseJson(json, '--addresses'));
  return Object.fromEntries(
    SERVICE_NAMES.map((name) => [
      name,
      given[name] ?? config.services[name]?.address ?? { host: '127.0.0.1', port: DEFAULT_PORTS[name] },
    ]),
  ) as ServiceAddresses;
}
