import { LIE_NAMES, type LieName } from './lies.ts';
import type { Prng } from './prng.ts';
import type { KeyManagerFaults } from './simulated-key-managers.ts';
import type { LinkWeather } from './simulated-network.ts';
import type { ServiceOfNode } from './simulated-node.ts';

interface Timed {
  readonly atMs: number;
  readonly forMs: number;
}

/** Something that goes wrong for a while; plain data, so that a plan can be printed and shortened. */
export type Fault = Timed &
  (
    | {
        readonly kind: 'weather';
        readonly from: string;
        readonly to: string;
        readonly change: Partial<LinkWeather>;
      }
    | { readonly kind: 'partition'; readonly node: string; readonly cut: 'refused' | 'silent' }
    | { readonly kind: 'kill'; readonly node: string; readonly service: ServiceOfNode }
    | {
        readonly kind: 'slow';
        readonly node: string;
        readonly service: SourceService;
        readonly workMs: number;
      }
    | {
        readonly kind: 'failing';
        readonly node: string;
        readonly service: SourceService;
        readonly failure: number;
      }
    | { readonly kind: 'hang'; readonly node: string; readonly service: SourceService }
    | { readonly kind: 'key-manager'; readonly node: string; readonly change: Partial<KeyManagerFaults> }
    | { readonly kind: 'lie'; readonly node: string; readonly lie: LieName; readonly probability: number }
    | { readonly kind: 'wall-clock'; readonly byMs: number }
  );

export type SourceService = Exclude<ServiceOfNode, 'gateway' | 'peer-broker'>;

const SOURCES: readonly SourceService[] = ['pqc-source', 'qkd-source', 'hybridizer'];
const SERVICES: readonly ServiceOfNode[] = ['gateway', 'peer-broker', ...SOURCES];

/** What goes wrong in a run that lasts until `untilMs`: about one thing every `meanGapMs`. */
export function planFaults(
  random: Prng,
  nodes: readonly string[],
  { untilMs, meanGapMs }: { untilMs: number; meanGapMs: number },
): Fault[] {
  const faults: Fault[] = [];
  for (let atMs = random.exponential(meanGapMs); atMs < untilMs; atMs += random.exponential(meanGapMs)) {
    // Longer than this nobody holds what was not confirmed.
    const forMs = Math.min(
      untilMs - atMs,
      100_000,
      100 + random.exponential(random.chance(0.2) ? 20_000 : 3_000),
    );
    faults.push({ ...oneFault(random, nodes), atMs: Math.round(atMs), forMs: Math.round(forMs) } as Fault);
  }
  return faults;
}

type Untimed<F> = F extends unknown ? Omit<F, keyof Timed> : never;

function oneFault(random: Prng, nodes: readonly string[]): Untimed<Fault> {
  const node = random.pick(nodes);
  const [from, to] = [node, random.pick(nodes.filter((other) => other !== node))];
  const service = random.pick(SOURCES);
  switch (random.between(0, 11)) {
    case 0:
      return { kind: 'weather', from, to, change: { loss: random.pick([0.05, 0.3, 0.7]) } };
    case 1:
      return { kind: 'weather', from, to, change: { delayMs: random.pick([20, 200, 1_500]) } };
    case 2:
      return { kind: 'weather', from, to, change: { duplication: random.pick([0.1, 0.6]) } };
    case 3:
      return { kind: 'weather', from, to, change: { straggle: random.pick([0.05, 0.3]) } };
    case 4:
      return { kind: 'partition', node, cut: random.pick(['refused', 'silent']) };
    case 5:
    case 6:
      return { kind: 'kill', node, service: random.pick(SERVICES) };
    case 7:
      return { kind: 'slow', node, service, workMs: random.pick([50, 500, 3_000]) };
    case 8:
      return random.chance(0.5)
        ? { kind: 'failing', node, service, failure: random.pick([0.1, 0.5]) }
        : { kind: 'hang', node, service };
    case 9:
      return { kind: 'key-manager', node, change: random.pick(KEY_MANAGER_FAULTS) };
    case 10:
      return { kind: 'lie', node, lie: random.pick(LIE_NAMES), probability: random.pick([0.2, 1]) };
    default:
      return { kind: 'wall-clock', byMs: random.pick([-86_400_000, -3_600_000, 3_600_000, 86_400_000]) };
  }
}

const KEY_MANAGER_FAULTS: readonly Partial<KeyManagerFaults>[] = [
  { down: true },
  { dry: true },
  { repeats: 0.2 },
  { skips: 0.2 },
];
