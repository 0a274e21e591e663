import { mkdirSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { getHeapSpaceStatistics } from 'node:v8';
import { type LoopReport, LoopTurns } from './loop-turns.ts';

/**
 * Loaded into every process of the benchmark's nodes (NODE_OPTIONS), by itself
 * without any import of the services', since they may be those of another
 * checkout. Listens on a socket in the folder that KEYWEAVE_PROBES names, and
 * does nothing until it is asked.
 */

export type ProbeOrder =
  | { do: 'start' }
  | { do: 'read' }
  | { do: 'profile' }
  | { do: 'profiled'; folder: string };

/** Bytes, as V8 and Node count them. */
export interface HeapReport {
  readonly heapUsed: number;
  readonly heapTotal: number;
  readonly external: number;
  readonly arrayBuffers: number;
  /** Heap that holds compiled code. */
  readonly code: number;
}

export interface ProbeReport {
  readonly loop: LoopReport;
  readonly heap: HeapReport;
}

const PROFILE_INTERVAL_US = 500;

const folder = process.env.KEYWEAVE_PROBES;
const [, script = '', command = ''] = process.argv;
const name = script.includes('service-entry') ? command : command === 'node' ? 'supervisor' : undefined;

if (folder !== undefined && name !== undefined) {
  const turns = new LoopTurns();
  const profiler = new Session();
  const answer = async (order: ProbeOrder): Promise<ProbeReport | undefined> => {
    if (order.do === 'start') turns.start();
    else if (order.do === 'read') return { loop: turns.report(), heap: heapReport() };
    else if (order.do === 'profile') {
      profiler.connect();
      await profiler.post('Profiler.enable');
      await profiler.post('Profiler.setSamplingInterval', { interval: PROFILE_INTERVAL_US });
      await profiler.post('Profiler.start');
    } else {
      const { profile } = await profiler.post('Profiler.stop');
      profiler.disconnect();
      mkdirSync(order.folder, { recursive: true });
      writeFileSync(join(order.folder, `${name}-${process.pid}.cpuprofile`), JSON.stringify(profile));
    }
    return undefined;
  };
  createServer((socket) => {
    socket.unref();
    socket.on('error', () => socket.destroy());
    createInterface({ input: socket }).on('line', async (line) => {
      const report = await answer(JSON.parse(line) as ProbeOrder);
      socket.write(`${JSON.stringify(report ?? {})}\n`);
    });
  })
    .listen(join(folder, `${process.pid}.sock`))
    .unref();
}

function heapReport(): HeapReport {
  const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
  const code = getHeapSpaceStatistics()
    .filter(({ space_name }) => space_name.includes('code'))
    .reduce((sum, { space_size }) => sum + space_size, 0);
  return { heapUsed, heapTotal, external, arrayBuffers, code };
}
