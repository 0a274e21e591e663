/** Loads everything that a node's processes load; Node writes the compile cache when this process ends. */
await Promise.all([
  import('./service-entry.ts'),
  // Containers start services, drivers and simulators through the command line.
  import('commander'),
  import('./commands/driver.ts'),
  import('./commands/kme-simulator.ts'),
  import('#common/service/health-port.ts'),
  import('#common/telemetry/start-telemetry.ts'),
  import('../gateway/main.ts').then(({ loadGrpcApi, loadRestApi }) =>
    Promise.all([loadGrpcApi(), loadRestApi()]),
  ),
  import('./commands/node.ts'),
  import('../qkd-source/main.ts'),
  import('../pqc-source/main.ts'),
  import('../peer-broker/main.ts'),
  import('../hybridizer/main.ts'),
]);
process.exit(0);
