import { runInEngine } from './run-in-engine.ts';

/** In this order, in one network: each leaves it as it found it, but the last. */
const SUITES = ['image', 'network', 'faults', 'rolling-restart', 'replicas', 'down'] as const;

const only = process.argv.slice(2);

process.exitCode = await runInEngine({
  name: 'containers',
  suites: SUITES.filter((name) => only.length === 0 || only.includes(name)),
  up: ['make', '--no-print-directory', 'up'],
});
