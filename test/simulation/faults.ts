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
const SERVICES: readonly ServiceOfNode[] = ['peer-broker', ...SOURCES];

type Untimed<F> = F extends unknown ? Omit<F, keyof Timed> : never;

/** What may go wrong, by what it is about; what is drawn twice as often stands twice. */
const KINDS: readonly ((random: Prng, nodes: readonly string[]) => Untimed<Fault>)[] = [
  (random, nodes) => ({
    kind: 'weather',
    ...link(random, nodes),
    change: { loss: random.pick([0.05, 0.3, 0.7]) },
  }),
  (random, nodes) => ({
    kind: 'weather',
    ...link(random, nodes),
    change: { delayMs: random.pick([20, 200, 1_500]) },
  }),
  (random, nodes) => ({
    kind: 'weather',
    ...link(random, nodes),
    change: { duplication: random.pick([0.1, 0.6]) },
  }),
  (random, nodes) => ({
    kind: 'weather',
    ...link(random, nodes),
    change: { straggle: random.pick([0.05, 0.3]) },
  }),
  (random, nodes) => ({
    kind: 'partition',
    node: random.pick(nodes),
    cut: random.pick(['refused', 'silent']),
  }),
  (random, nodes) => ({ kind: 'kill', node: random.pick(nodes), service: 'gateway' }),
  (random, nodes) => ({ kind: 'kill', node: random.pick(nodes), service: random.pick(SERVICES) }),
  (random, nodes) => ({ kind: 'slow', ...source(random, nodes), workMs: random.pick([50, 500, 3_000]) }),
  (random, nodes) => ({ kind: 'failing', ...source(random, nodes), failure: random.pick([0.1, 0.5]) }),
  (random, nodes) => ({ kind: 'hang', ...source(random, nodes) }),
  (random, nodes) => ({
    kind: 'key-manager',
    node: random.pick(nodes),
    change: random.pick([{ down: true }, { dry: true }]),
  }),
  (random, nodes) => ({ kind: 'key-manager', node: random.pick(nodes), change: random.pick(WRONG_KEYS) }),
  (random, nodes) => ({
    kind: 'lie',
    node: random.pick(nodes),
    lie: random.pick(LIE_NAMES),
    probability: random.pick([0.2, 1]),
  }),
  (random) => ({ kind: 'wall-clock', byMs: random.pick([-86_400_000, -3_600_000, 3_600_000, 86_400_000]) }),
];

const WRONG_KEYS: readonly Partial<KeyManagerFaults>[] = [{ repeats: 0.2 }, { skips: 0.2 }];

const link = (random: Prng, nodes: readonly string[]) => {
  const from = random.pick(nodes);
  return { from, to: random.pick(nodes.filter((other) => other !== from)) };
};

const source = (random: Prng, nodes: readonly string[]) => ({
  node: random.pick(nodes),
  service: random.pick(SOURCES),
});

/**
 * What goes wrong in a run that lasts until `untilMs`: about one thing every
 * `meanGapMs`. Each run knows some kinds of faults only, since one kind can
 * hide what another would show.
 */
export function planFaults(
  random: Prng,
  nodes: readonly string[],
  { untilMs, meanGapMs }: { untilMs: number; meanGapMs: number },
): Fault[] {
  const kinds = KINDS.filter(() => random.chance(0.4));
  const faults: Fault[] = [];
  if (kinds.length === 0) return faults;
  for (let atMs = random.exponential(meanGapMs); atMs < untilMs; atMs += random.exponential(meanGapMs)) {
    // Longer than this nobody holds what was not confirmed.
    const longMs = 100 + random.exponential(random.chance(0.2) ? 20_000 : 3_000);
    const forMs = Math.min(untilMs - atMs, 100_000, longMs);
    faults.push({
      ...random.pick(kinds)(random, nodes),
      atMs: Math.round(atMs),
      forMs: Math.round(forMs),
    } as Fault);
  }
  return faults;
}
