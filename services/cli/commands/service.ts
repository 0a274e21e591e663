import { ensureNodeCertificates } from '#certs/ensure.ts';
import { SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { failureText, systemCodeOf } from '#common/errors/system-error.ts';
import { createLogger } from '#common/log/logger.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import { trimHeap } from '#common/service/trim-heap.ts';
import { systemClock } from '#common/time/clock.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { configuredHealthPort } from '../configured-health-port.ts';
import { soundNodeFiles } from '../node-files/judge-node.ts';
import { serviceAddresses } from '../node-files/service-addresses.ts';

/** What a service tells the supervisor that started it. */
export type ServiceMessage =
  | { type: 'ready'; listening: RunningService['listening'] }
  | { type: 'failed'; reason: ErrorReason; detail: string; systemCode?: string };

/** Started by a supervisor, whether or not it still lives. */
const SUPERVISED = process.send !== undefined;

/** Time beyond the configured grace after which a stop is forced. */
const FORCE_MARGIN_MS = 3_000;

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
    await serve(serviceName(name), options);
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
  onStop((why) => void stop(why));

  const { config, peers } = soundNodeFiles({ ...options, service, supervised: SUPERVISED });
  const log = createLogger({ service, config: config.logging_config });
  // Under a supervisor the node as a whole has the one health port that is configured.
  const health = SUPERVISED ? undefined : await configuredHealthPort(config);
  await ensureNodeCertificates(config, [service], log);
  const identity = loadTlsIdentity({ ...certificateFiles(config, service), log });
  const context: ServiceContext = {
    service,
    config,
    peers,
    log,
    identity,
    addresses: serviceAddresses(config, options.addresses),
  };
  const running = await (await STARTERS[service]())(context);
  health?.started(() =>
    identity.notAfterMs > systemClock.wallMs() ? undefined : 'the certificate has expired',
  );
  const listening = { ...running.listening, ...(health && { health: health.address }) };
  log.info(
    'serving',
    Object.fromEntries(Object.entries(listening).map(([name, { host, port }]) => [name, `${host}:${port}`])),
  );

  stop = async (why) => {
    log.info('stopping', { why });
    health?.stopping();
    setTimeout(() => process.exit(1), config.limits.shutdown_grace + FORCE_MARGIN_MS).unref();
    await running.stop();
    await health?.close();
    identity.close();
    log.flush();
    process.exit(0);
  };
  process.on('unhandledRejection', (reason) => {
    log.error('unhandled rejection', {}, reason);
    log.flush();
    process.exit(1);
  });
  trimHeap();
  if (SUPERVISED) await tell({ type: 'ready', listening });
  else process.stdout.write(`${JSON.stringify({ ready: true, service, uuid: config.uuid, listening })}\n`);
}

/** Calls `stop` once, for the first of whatever asks for it. */
function onStop(stop: (why: string) => void): void {
  let stopping = false;
  const once = (why: string) => {
    if (stopping) return;
    stopping = true;
    stop(why);
  };
  process.on('SIGTERM', () => once('SIGTERM'));
  process.on('SIGINT', () => once('SIGINT'));
  // A supervisor that dies without a word must not leave its services behind, not even one that was starting.
  process.on('disconnect', () => once('the supervisor is gone'));
  if (SUPERVISED && !process.connected) once('the supervisor is gone');
}

/** Resolves when the supervisor has it, or has gone: a process that ends at once takes unsent messages with it. */
function tell(message: ServiceMessage): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected) return resolve();
    process.send?.(message, () => resolve());
  });
}

function serviceName(name: string): ServiceName {
  if ((SERVICE_NAMES as readonly string[]).includes(name)) return name as ServiceName;
  throw new KeyweaveError(
    'BAD_REQUEST',
    `there is no service ${JSON.stringify(name)}; there are ${SERVICE_NAMES.join(', ')}`,
  );
}
