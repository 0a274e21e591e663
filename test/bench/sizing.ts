import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { printTable } from '../../services/cli/table.ts';
import { THROUGHPUT_TITLE } from './cases/throughput.ts';
import type { FigureTable } from './figures.ts';

/** Share of a core that a replica should use in the long run; the rest is for bursts and restarts of its siblings. */
const TARGET_LOAD = 0.7;

/** A measurement counts both ends of every stream; a node is one of them. */
const NODES_MEASURED = 2;

const { values: options } = parseArgs({
  options: {
    report: { type: 'string', default: '.cache/bench/latest.json' },
    rates: { type: 'string', default: '100,1000,5000,20000' },
    streams: { type: 'string', default: '64' },
  },
});

interface Report {
  readonly machine: { readonly cpu: string; readonly node: string };
  readonly options: { readonly method: string; readonly sources: string };
  readonly tables: readonly FigureTable[];
}

/** Prints how many replicas of each service a node needs, by the cost per key that the benchmark measured. */
function printSizing(report: Report): void {
  const label = `${options.streams} streams`;
  const measured = report.tables.find(({ title }) => title === THROUGHPUT_TITLE)?.rows[label];
  if (!measured) throw new Error(`${options.report} has no throughput of ${label}`);
  const { machine } = report;
  const { sources, method } = report.options;
  process.stdout.write(
    `${sources} by ${method}, ${options.streams} streams, ${machine.cpu}, Node ${machine.node}; replicas of one core each at ${TARGET_LOAD * 100} %\n\n`,
  );
  const rates = options.rates.split(',').map(Number);
  printTable(
    ['service', 'CPU ms/key', ...rates.map((rate) => `${rate} keys/s`)],
    SERVICE_NAMES.map((service) => {
      const ms = (measured[service] ?? Number.NaN) / NODES_MEASURED;
      return [
        service,
        ms.toFixed(3),
        ...rates.map((rate) => Math.max(1, Math.ceil((rate * ms) / 1000 / TARGET_LOAD))),
      ];
    }),
  );
}

printSizing(JSON.parse(readFileSync(options.report, 'utf8')) as Report);
