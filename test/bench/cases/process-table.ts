import type { FigureTable } from '../figures.ts';
import type { ProcessFigures } from '../probe/probes.ts';

/** What each process did in a measurement: both gateways, and of the other services the busier. */
export function processTable(title: string, figures: readonly ProcessFigures[]): FigureTable {
  const rows: Record<string, Record<string, number>> = {};
  const busiest = figures.toSorted((a, b) => b.cpuMs - a.cpuMs);
  for (const { node, service, elapsedMs: ms, cpuMs, waitedMs, loop } of busiest) {
    const label = service === 'gateway' ? `${service} ${node}` : service;
    if (service === 'supervisor' || rows[label]) continue;
    const { wall, cpu, gc } = loop;
    const collected = (kind: string) => gc[kind] ?? { count: 0, totalMs: 0, maxMs: 0 };
    const [minor, major] = [collected('minor'), collected('major')];
    rows[label] = {
      'CPU %': (cpuMs / ms) * 100,
      'core awaited %': (waitedMs / ms) * 100,
      'turns/s': (loop.turns / ms) * 1000,
      'turn p50': wall.p50Ms,
      p99: wall.p99Ms,
      'p99.9': wall.p999Ms,
      max: wall.maxMs,
      'its CPU p99': cpu.p99Ms,
      'p99.9 ': cpu.p999Ms,
      'max ': cpu.maxMs,
      'minor GC/s': (minor.count / ms) * 1000,
      'mean ms': minor.count === 0 ? 0 : minor.totalMs / minor.count,
      'max ms': minor.maxMs,
      'major GC/s': (major.count / ms) * 1000,
      'mean ms ': major.count === 0 ? 0 : major.totalMs / major.count,
      'max ms ': major.maxMs,
      'steps of marking/s': (collected('incremental').count / ms) * 1000,
    };
  }
  return { title, rows };
}
