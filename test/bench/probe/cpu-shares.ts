import { readdirSync, readFileSync } from 'node:fs';
import type { Profiler } from 'node:inspector';
import { join } from 'node:path';

/** Whose work a function is by where it stands, the first that fits. */
const PARTS = {
  'telemetry %': /\/@opentelemetry\/|\/telemetry\//,
  'gRPC %': /\/(@grpc|nice-grpc|nice-grpc-common|@bufbuild)\//,
} as const;

/** Measuring is nobody's work. */
const MEASURING = /\/test\/bench\//;

type Part = keyof typeof PARTS;
type Owner = Part | 'measuring' | undefined;
type Shares = Record<'busy ms' | 'garbage %' | Part, number>;

/**
 * What the processes whose CPU profiles are in `folder` were busy with, by
 * name, and all services together. A sample is of the part that the innermost
 * function outside of Node belongs to. Where a machine is noisy this still tells the
 * parts of one run from each other; what a part leaves for the garbage
 * collector is not counted as its own.
 */
export function cpuShares(folder: string): Record<string, Shares> {
  const sums = new Map<string, Sums>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'))) {
    const profile = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Profiler.Profile;
    const name = file.replace(/-\d+\.cpuprofile$/, '');
    const names = name === 'supervisor' ? [name] : [name, 'the five services'];
    for (const of of names) {
      const sum = sums.get(of) ?? new Sums();
      sum.add(profile);
      sums.set(of, sum);
    }
  }
  return Object.fromEntries([...sums].sort().map(([name, sum]) => [name, sum.shares()]));
}

class Sums {
  #busy = 0;
  #garbage = 0;
  readonly #parts: Record<Part, number> = { 'telemetry %': 0, 'gRPC %': 0 };

  add({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): void {
    const partOf = partsOf(nodes);
    const functions = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.functionName]));
    samples.forEach((id, i) => {
      const us = timeDeltas[i] ?? 0;
      const name = functions.get(id);
      const part = partOf.get(id);
      if (name === '(idle)' || name === '(root)' || part === 'measuring') return;
      this.#busy += us;
      if (name === '(garbage collector)') this.#garbage += us;
      if (part !== undefined) this.#parts[part] += us;
    });
  }

  shares(): Shares {
    const percent = (us: number) => (us / this.#busy) * 100;
    return {
      'busy ms': this.#busy / 1_000,
      'garbage %': percent(this.#garbage),
      'telemetry %': percent(this.#parts['telemetry %']),
      'gRPC %': percent(this.#parts['gRPC %']),
    };
  }
}

/** The part of each node of the call tree: its own, or for functions of Node that of its caller. */
function partsOf(nodes: readonly Profiler.ProfileNode[]): Map<number, Owner> {
  const parts = new Map<number, Owner>();
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const visit = (id: number, caller: Owner): void => {
    const node = byId.get(id);
    if (!node) return;
    const { url } = node.callFrame;
    const own = url === '' || url.startsWith('node:') ? caller : partAt(url);
    parts.set(id, own);
    for (const child of node.children ?? []) visit(child, own);
  };
  const [root] = nodes;
  if (root) visit(root.id, undefined);
  return parts;
}

function partAt(url: string): Owner {
  if (MEASURING.test(url)) return 'measuring';
  return (Object.keys(PARTS) as Part[]).find((part) => PARTS[part].test(url));
}
