import { ensureNodeCertificates } from '#certs/ensure.ts';
import { startRenewal } from '#certs/renewal.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { createLogger } from '#common/log/logger.ts';
import { heedHangup } from '#common/service/hangup.ts';
import { Readiness } from '#common/service/readiness.ts';
import type { ServiceAddresses } from '#common/service/service-context.ts';
import { warmCompileCache } from '../compile-cache.ts';
import { configuredHealthPort } from '../configured-health-port.ts';
import { EXIT } from '../ending/exit-codes.ts';
import { onStopSignals } from '../ending/stop-signals.ts';
import { freePorts } from '../free-ports.ts';
import { soundConfig } from '../node-files/judge-node.ts';
import { ServiceSupervisor } from '../supervisor.ts';
import { configuredTelemetry } from '../telemetry/configured-telemetry.ts';
import { nodeExposition, observeServices } from '../telemetry/node-exposition.ts';

const LOOPBACK = '127.0.0.1';
const STOP_MARGIN_MS = 4_000;

/** A failed start has no calls under way that would need more. */
const FAILED_STOP_LIMIT_MS = 2_000;

/** A service whose own checks take their full time has still answered by then. */
const READINESS_LIMIT_MS = 1_500;

/** Runs a whole node until SIGTERM or SIGINT; a second one stops it by force. A start that fails leaves ending the process to the caller. */
export async function runNode(options: { config: string; peers: string }): Promise<void> {
  const stopping = new AbortController();
  const supervisors: ServiceSupervisor[] = [];
  let stop = async (_why: string): Promise<void> => undefined;
  const leave = (why: string) => {
    if (stopping.signal.aborted) return;
    stopping.abort();
    void stop(why).then(() => process.exit(EXIT.DONE));
  };
  onStopSignals(['SIGTERM', 'SIGINT'], {
    first: leave,
    again: () => {
      for (const supervisor of supervisors) supervisor.kill();
      process.exit(EXIT.FAILED);
    },
  });

  const config = soundConfig(options);
  const log = createLogger({ service: 'node', config: config.logging_config });
  const readiness = new Readiness({ limitMs: READINESS_LIMIT_MS });
  stop = async (why) => {
    log.info('stopping', { why });
    readiness.stopping();
    await stopInOrder(supervisors);
    await telemetry?.close();
    log.info('the node has stopped');
  };
  heedHangup({
    reopen: () => {
      log.reopen();
      for (const supervisor of supervisors) supervisor.reopenLog();
    },
    stop: () => leave('the terminal is gone'),
  });
  const telemetry = await configuredTelemetry('node', config, log);
  const health = await configuredHealthPort(
    config,
    readiness,
    telemetry?.exposition && (() => nodeExposition(telemetry, supervisors)),
  );
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

  // The services load their modules while their certificates are made.
  const mayStart = Promise.withResolvers<void>();
  try {
    const started = supervisors.map((supervisor) => supervisor.start(mayStart.promise));
    const certified = ensureNodeCertificates(config, SERVICE_NAMES, log).then(mayStart.resolve);
    await Promise.all([certified, ...started]);
  } catch (error) {
    // Told to leave, the node ends by that; what fails meanwhile does so for that reason.
    if (stopping.signal.aborted) return;
    await Promise.all(supervisors.map((supervisor) => supervisor.stop(FAILED_STOP_LIMIT_MS)));
    throw error;
  }
  for (const supervisor of supervisors) readiness.add(supervisor.name, () => supervisor.problems());
  readiness.started();
  if (telemetry) observeServices(telemetry, supervisors);
  startRenewal(config, SERVICE_NAMES, { log });
  const listening = Object.assign({}, ...supervisors.map((supervisor) => supervisor.listening));
  const ready = {
    ready: true,
    uuid: config.uuid,
    listeners: {
      json: listening.json,
      binary: listening.binary,
      grpc: listening['public-grpc'],
      rest: listening.rest,
      skip: listening.skip,
      console: listening.console,
      peer: listening.peer,
      health: health?.address,
    },
    services: Object.fromEntries(
      supervisors.map(({ name, pid, listening: own }) => [name, { pid, address: own.grpc }]),
    ),
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

/** The gateway first: it tells the peers of every stream that ends, and needs the others for it. */
async function stopInOrder(supervisors: readonly ServiceSupervisor[]): Promise<void> {
  for (const supervisor of supervisors) supervisor.retire();
  const [first, rest] = [
    supervisors.filter(({ name }) => name === 'gateway'),
    supervisors.filter(({ name }) => name !== 'gateway'),
  ];
  for (const group of [first, rest]) await Promise.all(group.map((supervisor) => supervisor.stop()));
}
