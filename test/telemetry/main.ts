import { runInEngine } from '../containers/run-in-engine.ts';
import { makeObserverImages } from './observer-images.ts';
import { findPrograms } from './programs.ts';

const progress = (text: string) => process.stderr.write(`telemetry: ${text}\n`);

const found = await findPrograms(progress);
if ('missing' in found) {
  progress(`SKIPPED: the network in containers: ${found.missing}`);
} else {
  process.exitCode = await runInEngine({
    name: 'telemetry',
    suites: ['../telemetry/containers', 'down'],
    // As `make up TELEMETRY=1`; Grafana is no Go program alone, which modules would bring.
    up: ['deploy/network', 'up', '--scale', 'grafana=0'],
    env: { TELEMETRY: '1' },
    prepare: (engine) => makeObserverImages(engine, found),
  });
}
