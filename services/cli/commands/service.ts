import { ensureNodeCertificates } from '#certs/ensure.ts';
import { startRenewal } from '#certs/renewal.ts';
import { SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import { watchTrustedPeers } from '#common/config/trusted-peers-file.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { failureText, systemCodeOf } from '#common/errors/system-error.ts';
import { createLogger } from '#common/log/logger.ts';
import { heedHangup } from '#common/service/hangup.ts';
import { giveHeapRoom } from '#common/service/heap-room.ts';
import { Readiness } from '#common/service/readiness.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import type { ServiceMessage, SupervisorMessage } from '#common/service/supervision.ts';
import { trimHeap } from '#common/service/trim-heap.ts';
import { yieldCores } from '#common/service/yield-cores.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { watchExpiry } from '#common/tls/expiry-watch.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { keyManagerCertificates } from '#common/tls/node-certificates.ts';
import { configuredHealthPort } from '../configured-health-port.ts';
import { soundConfig } from '../node-files/judge-node.ts';
import { serviceAddresses } from '../node-files/service-addresses.ts';
import { parseServiceName } from '../node-files/service-name.ts';
import { optimise } from '../service-runtime.ts';
import { configuredTelemetry } from '../telemetry/configured-telemetry.ts';

/** Started by a supervisor, whether or not it still lives. */
const SUPERVISED = process.send !== undefined;

/** Time beyond the configured grace after which a stop is forced. */
const FORCE_MARGIN_MS = 3_000;

/** The same for a service that got a signal and no word from its supervisor, which stops the gateway before it. */
const NO_WORD_MARGIN_MS = 5_000;

/** When what the start has left behind is given back, after the start. */
const TRIM_DELAY_MS = 1_000;

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

/** Runs one service until SIGTERM, SIGINT or the loss of its supervisor. A start that fails leaves ending the process to the caller. */
export async function runService(
  name: string,
  options: { config: string; peers: string; addresses?: string },
): Promise<void> {
  try {
    await serve(parseServiceName(name, SERVICE_NAMES), options);
  } catch (thrown) {
    const systemCode = systemCodeOf(thrown);
    await tell({
      type: 'failed',
      reason: KeyweaveError.from(thrown).reason,
      detail: failureText(thrown),
      ...(systemCode !== undefined && { systemCode }),
    });
    throw thrown;
  }
}

async function serve(
  service: ServiceName,
  options: { config: string; peers: string; addresses?: string },
): Promise<void> {
  /** What a stop has to do; nothing while the start is under way, since whoever stops it then has no use for any part. */
  let stop: (why: string) => Promise<void> = async () => process.exit(0);
  /** How long a supervised service waits for the word to stop; it needs none while it starts. */
  let noWordMs = 0;
  const stopNow = once((why) => stop(why));
  heedSignals(stopNow, () => noWordMs);

  // Before it has any threads, which have the priority that it has then.
  if (SUPERVISED && service !== 'gateway') yieldCores();
  if (SUPERVISED) await Promise.all([STARTERS[service](), wordToStart()]);
  const config = soundConfig({ ...options, service, supervised: SUPERVISED });
  const log = createLogger({ service, config: config.logging_config });
  const reopenings: (() => void)[] = [log.reopen];
  const reopen = () => {
    for (const each of reopenings) each();
  };
  heedHangup({ reopen, ...(!SUPERVISED && { stop: () => stopNow('the terminal is gone') }) });
  // Under a supervisor the node as a whole has the one health port that is configured.
  const readiness = new Readiness();
  const telemetry = await configuredTelemetry(service, config, log);
  if (telemetry?.tracing) log.inTrace(telemetry.tracing.traceId);
  const health = SUPERVISED
    ? undefined
    : await configuredHealthPort(config, readiness, telemetry?.exposition);
  const peers = watchTrustedPeers(options.peers, { log, config });
  await ensureNodeCertificates(config, [service], log);
  const identity = loadTlsIdentity({
    ...certificateFiles(config, service),
    log,
    onHandshake: telemetry?.rpc.handshake,
  });
  const context: ServiceContext = {
    service,
    config,
    peers: peers.current,
    onPeersChange: peers.onChange,
    log,
    identity,
    readiness,
    addresses: serviceAddresses(config, options.addresses),
    onReopenLogs: (listener) => void reopenings.push(listener),
    ...(telemetry && { telemetry }),
  };
  const running = await (await STARTERS[service]())(context);
  const certificates = () => [
    ...identity.certificates(),
    ...(service === 'qkd-source' ? keyManagerCertificates(config) : []),
  ];
  telemetry?.observeCertificates(certificates);
  const expiry = watchExpiry({
    certificates,
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

  stop = async (why) => {
    log.info('stopping', { why });
    readiness.stopping();
    setTimeout(() => process.exit(1), config.limits.shutdown_grace + FORCE_MARGIN_MS).unref();
    await running.stop();
    await health?.close();
    renewal?.close();
    expiry.close();
    peers.close();
    identity.close();
    await telemetry?.close();
    process.exit(0);
  };
  noWordMs = config.limits.shutdown_grace + NO_WORD_MARGIN_MS;
  process.on('message', ({ type }: SupervisorMessage) => {
    if (type === 'readiness') void readiness.problems().then((problems) => tell({ type, problems }));
    else if (type === 'metrics') void tellMetrics(telemetry);
    else if (type === 'reopen-log') reopen();
    else stopNow('the supervisor says so');
  });
  process.on('unhandledRejection', (reason) => {
    log.error('unhandled rejection', {}, reason);
    process.exit(1);
  });
  optimise();
  giveHeapRoom();
  // Later: the other services of the node still start, and applications have begun to come.
  setTimeout(trimHeap, TRIM_DELAY_MS).unref();
  if (SUPERVISED) await tell({ type: 'ready', listening });
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
 * supervisor, and waits for the word that long at most.
 */
function heedSignals(stop: (why: string) => void, noWordMs: () => number): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (!SUPERVISED || noWordMs() === 0) return stop(signal);
      void tell({ type: 'signalled' });
      setTimeout(() => stop(`${signal}, and no word from the supervisor`), noWordMs()).unref();
    });
  }
  // A supervisor that dies without a word must not leave its services behind, not even one that was starting.
  process.on('disconnect', () => stop('the supervisor is gone'));
  if (SUPERVISED && !process.connected) stop('the supervisor is gone');
}

/** Resolves when the supervisor has what a service needs; its loss ends the wait, and the process. */
function wordToStart(): Promise<void> {
  return new Promise((resolve) => {
    const heed = ({ type }: SupervisorMessage) => {
      if (type !== 'start') return;
      // What is said from now on waits for whoever listens next.
      process.off('message', heed);
      resolve();
    };
    process.on('message', heed);
  });
}

async function tellMetrics(telemetry: Telemetry | undefined): Promise<void> {
  const text = await (telemetry?.exposition?.() ?? Promise.resolve('')).catch(() => '');
  await tell({ type: 'metrics', text });
}

/** Resolves when the supervisor has it, or has gone: a process that ends at once takes unsent messages with it. */
function tell(message: ServiceMessage): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected) return resolve();
    process.send?.(message, () => resolve());
  });
}
