import { ensureNodeCertificates } from '#certs/ensure.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { createLogger } from '#common/log/logger.ts';
import type { ServiceAddresses } from '#common/service/service-context.ts';
import { warmCompileCache } from '../compile-cache.ts';
import { configuredHealthPort } from '../configured-health-port.ts';
import { EXIT } from '../ending/exit-codes.ts';
import { onStopSignals } from '../ending/stop-signals.ts';
import { freePorts } from '../free-ports.ts';
import { soundNodeFiles } from '../node-files/judge-node.ts';
import { ServiceSupervisor } from '../supervisor.ts';

const LOOPBACK = '127.0.0.1';
const STOP_MARGIN_MS = 4_000;

/** A failed start has no calls under way that would need more. */
const FAILED_STOP_LIMIT_MS = 2_000;

/** Runs a whole node until SIGTERM or SIGINT; a second one stops it by force. A start that fails leaves ending the process to the caller. */
export async function runNode(options: { config: string; peers: string }): Promise<void> {
  const stopping = new AbortController();
  const supervisors: ServiceSupervisor[] = [];
  let stop = async () => undefined as unknown;
  onStopSignals(['SIGTERM', 'SIGINT'], {
    first: () => {
      stopping.abort();
      void stop().then(() => process.exit(EXIT.DONE));
    },
    again: () => {
      for (const supervisor of supervisors) supervisor.kill();
      process.exit(EXIT.FAILED);
    },
  });

  const { config } = soundNodeFiles(options);
  const log = createLogger({ service: 'node', config: config.logging_config });
  const health = await configuredHealthPort(config);
  await ensureNodeCertificates(config, SERVICE_NAMES, log);
  await warmCompileCache(stopping.signal);
  const ports = await freePorts(LOOPBACK, SERVICE_NAMES.length);
  const addresses = Object.fromEntries(
    SERVICE_NAMES.map((name, i) => [
      name,
      config.services[name]?.address ?? { host: LOOPBACK, port: ports[i] },
    ]),
  ) as ServiceAddresses;
  if (stopping.signal.aborted) return;
  for (const name of SERVICE_NAMES) {
    supervisors.push(
      new ServiceSupervisor(name, {
        configPath: options.config,
        peersPath: options.peers,
        addresses,
        log,
        stopLimitMs: config.limits.shutdown_grace + STOP_MARGIN_MS,
      }),
    );
  }
  stop = async () => {
    health?.stopping();
    await stopInOrder(supervisors);
    log.info('the node has stopped');
    log.flush();
  };

  try {
    await Promise.all(supervisors.map((supervisor) => supervisor.start()));
  } catch (error) {
    await Promise.all(supervisors.map((supervisor) => supervisor.stop(FAILED_STOP_LIMIT_MS)));
    log.flush();
    throw error;
  }
  health?.started(() => downServices(supervisors));
  const listening = Object.assign({}, ...supervisors.map((supervisor) => supervisor.listening));
  const ready = {
    ready: true,
    uuid: config.uuid,
    listeners: { json: listening.json, peer: listening.peer, health: health?.address },
    services: Object.fromEntries(
      supervisors.map(({ name, pid, listening: own }) => [name, { pid, address: own.grpc }]),
    ),
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

/** Which services are being started again; undefined when all run. */
function downServices(supervisors: readonly ServiceSupervisor[]): string | undefined {
  const down = supervisors.filter(({ running }) => !running).map(({ name }) => name);
  return down.length === 0 ? undefined : `being started again: ${down.join(', ')}`;
}

/** The gateway first: it tells the peers of every stream that ends, and needs the others for it. */
async function stopInOrder(supervisors: readonly ServiceSupervisor[]): Promise<void> {
  const [first, rest] = [
    supervisors.filter(({ name }) => name === 'gateway'),
    supervisors.filter(({ name }) => name !== 'gateway'),
  ];
  for (const group of [first, rest]) await Promise.all(group.map((supervisor) => supervisor.stop()));
}
