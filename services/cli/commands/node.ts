import { ensureNodeCertificates } from '#certs/ensure.ts';
import { startRenewal } from '#certs/renewal.ts';
import { loadNodeFiles } from '#common/config/load.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { createLogger } from '#common/log/logger.ts';
import { heedHangup } from '#common/service/hangup.ts';
import { Readiness } from '#common/service/readiness.ts';
import type { ServiceAddresses } from '#common/service/service-context.ts';
import { warmCompileCache } from '../compile-cache.ts';
import { configuredHealthPort } from '../configured-health-port.ts';
import { freePorts } from '../free-ports.ts';
import { ServiceSupervisor } from '../supervisor.ts';

const LOOPBACK = '127.0.0.1';
const STOP_MARGIN_MS = 4_000;

/** A service whose own checks take their full time has still answered by then. */
const READINESS_LIMIT_MS = 1_500;

/** Runs a whole node until SIGTERM or SIGINT. */
export async function runNode(options: { config: string; peers: string }): Promise<void> {
  const { config } = loadNodeFiles(options.config, options.peers);
  const log = createLogger({ service: 'node', config: config.logging_config });
  const readiness = new Readiness({ limitMs: READINESS_LIMIT_MS });
  const health = await configuredHealthPort(config, readiness);
  await ensureNodeCertificates(config, SERVICE_NAMES, log);
  await warmCompileCache();
  const ports = await freePorts(LOOPBACK, SERVICE_NAMES.length);
  const addresses = Object.fromEntries(
    SERVICE_NAMES.map((name, i) => [
      name,
      config.services[name]?.address ?? { host: LOOPBACK, port: ports[i] },
    ]),
  ) as ServiceAddresses;

  const supervisors = SERVICE_NAMES.map(
    (name) =>
      new ServiceSupervisor(name, {
        configPath: options.config,
        peersPath: options.peers,
        addresses,
        log,
        stopLimitMs: config.limits.shutdown_grace + STOP_MARGIN_MS,
      }),
  );
  let stopping: Promise<unknown> | undefined;
  const stop = () => {
    stopping ??= stopInOrder(supervisors);
    return stopping;
  };
  let leaving = false;
  const leave = (why: string) => {
    if (leaving) return;
    leaving = true;
    log.info('stopping', { why });
    readiness.stopping();
    void stop().then(() => {
      log.info('the node has stopped');
      process.exit(0);
    });
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => leave(signal));
  heedHangup({
    reopen: () => {
      log.reopen();
      for (const supervisor of supervisors) supervisor.reopenLog();
    },
    stop: () => leave('the terminal is gone'),
  });

  try {
    await Promise.all(supervisors.map((supervisor) => supervisor.start()));
  } catch (error) {
    await stop();
    throw error;
  }
  for (const supervisor of supervisors) readiness.add(supervisor.name, () => supervisor.problems());
  readiness.started();
  startRenewal(config, SERVICE_NAMES, { log });
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

/** The gateway first: it tells the peers of every stream that ends, and needs the others for it. */
async function stopInOrder(supervisors: readonly ServiceSupervisor[]): Promise<void> {
  for (const supervisor of supervisors) supervisor.retire();
  const [first, rest] = [
    supervisors.filter(({ name }) => name === 'gateway'),
    supervisors.filter(({ name }) => name !== 'gateway'),
  ];
  for (const group of [first, rest]) await Promise.all(group.map((supervisor) => supervisor.stop()));
}
