import { createHash } from 'node:crypto';
import { SOURCE_POLICIES, type SourcePolicy } from '#common/policy/policy-section.ts';
import type { HistoryEntry } from '../helpers/delivery-history.ts';
import { Application, type PairPlan, type Witness } from './applications.ts';
import { type Fault, planFaults } from './faults.ts';
import { type Drop, judge } from './judge.ts';
import { lieOf } from './lies.ts';
import { Prng } from './prng.ts';
import { SimulatedKeyManagers } from './simulated-key-managers.ts';
import { FAIR_WEATHER, SimulatedNetwork } from './simulated-network.ts';
import { type ServiceOfNode, type SharedWorld, SimulatedNode } from './simulated-node.ts';
import { Secrets } from './simulated-sources.ts';
import { SimulatedTime } from './simulated-time.ts';
import { WovenKeys } from './woven-keys.ts';

/** Everything that a run depends on. */
export interface Plan {
  readonly seed: number;
  readonly nodes: readonly string[];
  readonly pairs: readonly PairPlan[];
  readonly faults: readonly Fault[];
  /** Faults end here, and everybody is honest from then on. */
  readonly faultsUntilMs: number;
  readonly policy: 'refuse' | 'shared_seed';
  /** `policy.sources` of each node; all where a plan does not say. */
  readonly sources?: readonly SourcePolicy[];
  /** Whether the streams of two nodes share their QKD keys; by link where a plan does not say. */
  readonly sharing?: 'link' | 'stream';
}

export interface Run {
  readonly plan: Plan;
  /** What must never be, one line each; none of a sound run. */
  readonly violations: readonly string[];
  readonly keys: number;
  /** Those that lack sources of a kind, as the policies of both nodes let be. */
  readonly lacking: number;
  readonly simulatedMs: number;
  readonly events: number;
  /** Of everything that was sent and answered, in order: two runs of a plan have the same. */
  readonly digest: string;
}

/** After the faults every pair of applications has a key again within this: a Produce whose answer was lost is waited for for 30 s. */
export const RECOVERY_MS = 60_000;

/** What is left of a stream when everybody has closed is gone by then: nobody waits longer for a confirmation. */
const QUIET_MS = 200_000;

const LETTERS = ['a', 'b', 'c'];
const uuidOf = (letter: string) => '00000000-0000-4000-8000-000000000000'.replaceAll('0', letter);

/** What a seed stands for. */
export function planOf(seed: number, faultsUntilMs = 120_000): Plan {
  const random = Prng.of(seed, 'plan');
  const nodes = LETTERS.slice(0, random.pick([2, 2, 2, 3])).map(uuidOf);
  const pairs = Array.from({ length: random.between(1, 4) }, (_, i): PairPlan => {
    const source = random.pick(nodes);
    const isBusy = random.chance(0.15);
    const ksid = random.chance(0.25) ? random.uuid() : undefined;
    return {
      name: `pair${i}`,
      source,
      destination: random.pick(nodes.filter((node) => node !== source)),
      ...random.pick([
        { method: 'hkdf-sha384', keySources: 'ML-KEM-768,QKD' },
        { method: 'xoring', keySources: 'ML-KEM-768,QKD' },
        { method: 'hkdf-sha256', keySources: 'QKD' },
        { method: 'hkdf-sha256', keySources: 'ML-KEM-512' },
        { method: 'hkdf-sha384', keySources: 'QKD,ML-KEM-512,QKD' },
      ]),
      ksid,
      timeoutMs: random.pick([1_000, 3_000, 10_000]),
      paceMs: isBusy ? 50 : random.pick([500, 1_500, 4_000]),
      keys: random.pick([1, 5, 40, 200]),
      vanishes: random.pick([0, 0, 0.02, 0.2]),
      picksIndex: random.pick([0, 0, 0.1, 0.5]),
      // Who names the KSID and forgets to close it cannot open it again.
      forgets: ksid === undefined ? random.pick([0, 0, 0.2]) : 0,
    };
  });
  const meanGapMs = random.pick([500, 2_000, 8_000]);
  return {
    ...{ seed, nodes, pairs, faultsUntilMs },
    policy: random.chance(0.3) ? 'shared_seed' : 'refuse',
    sources: sourcesOf(seed, nodes.length),
    sharing: Prng.of(seed, 'sharing').pick(['link', 'link', 'link', 'stream']),
    faults: random.chance(0.1)
      ? []
      : planFaults(Prng.of(seed, 'faults'), nodes, { untilMs: faultsUntilMs, meanGapMs }),
  };
}

/** In half of the worlds something may be left out, and mostly both ends of a pair say so. */
function sourcesOf(seed: number, nodes: number): SourcePolicy[] {
  const random = Prng.of(seed, 'sources');
  if (random.chance(0.5)) return Array(nodes).fill('all');
  const usual = random.pick(SOURCE_POLICIES);
  return Array.from({ length: nodes }, () => (random.chance(0.8) ? usual : random.pick(SOURCE_POLICIES)));
}

/** Runs a plan from its beginning to the moment when nothing may be left of it. */
export async function simulate(plan: Plan, onEntry?: (entry: HistoryEntry) => void): Promise<Run> {
  const { seed, nodes: uuids, pairs, faults, faultsUntilMs, policy, sharing = 'link', sources = [] } = plan;
  const time = new SimulatedTime();
  const digest = createHash('sha256');
  const note = (line: string) => {
    digest.update(`${time.nowMs} ${line}\n`);
  };
  const random = (name: string) => Prng.of(seed, name);
  const secrets = new Secrets();
  const network = new SimulatedNetwork(time, random('network'), note);
  const keyManagers = new SimulatedKeyManagers(random('key managers'), secrets);
  const drops: Drop[] = [];
  const complaints: string[] = [];
  // A key manager that repeats itself gives a key twice: that is for qkd-source to notice.
  const mayRepeat = faults.some(
    (fault) => fault.kind === 'key-manager' && (fault.change.repeats || fault.change.skips),
  );
  const policyOf = (node: string) => sources[uuids.indexOf(node)] ?? 'all';
  const woven = new WovenKeys({
    policyOf,
    complain: (text) => complaints.push(text),
    repeated: (text) => {
      if (!mayRepeat) complaints.push(text);
    },
  });
  const world: SharedWorld = {
    ...{ time, network, keyManagers, secrets, nodes: uuids, policy, sources, sharing, random, woven },
    dropped: (stream, role, first, count) =>
      drops.push({ stream, end: role === 'initiator' ? 0 : 1, first, count }),
  };
  const nodes = new Map(uuids.map((uuid) => [uuid, new SimulatedNode(uuid, world)] as const));
  const history: HistoryEntry[] = [];
  const named = new Set<string>();
  const mayDegrade = policy === 'shared_seed';
  const witness: Witness = {
    ...{ history, named, complaints, mayDegrade, note, made: new Map(), lacking: 0 },
    policyOf,
  };
  const applications = pairs.flatMap((pair) =>
    ([0, 1] as const).map((end) => {
      const node = nodes.get(end === 0 ? pair.source : pair.destination) as SimulatedNode;
      return new Application({ plan: pair, end, node, time, random: random(`${pair.name}/${end}`), witness });
    }),
  );
  for (const fault of faults) schedule(fault, { time, network, keyManagers, random, nodes });
  const watch = () => {
    for (const node of nodes.values()) complaints.push(...node.excesses());
    if (time.nowMs < faultsUntilMs + RECOVERY_MS) time.at(time.nowMs + 500, watch);
  };
  watch();
  let running = applications.length;
  for (const application of applications) {
    void application.run().then(
      () => {
        running -= 1;
      },
      (thrown: unknown) => complaints.push(`${application.name} has failed: ${(thrown as Error).stack}`),
    );
  }
  await time.run(faultsUntilMs + RECOVERY_MS);
  const isBarred = (pair: PairPlan) =>
    [pair.source, pair.destination].some((node) => bars(witness, node, pair));
  const unserved = unservedOf(pairs, applications, faultsUntilMs).filter(
    (name) => !pairs.some((pair) => name.startsWith(`${pair.name}/`) && isBarred(pair)),
  );
  for (const [i, pair] of pairs.entries()) {
    const served = applications.slice(2 * i, 2 * i + 2).filter(({ lastKeyMs }) => lastKeyMs >= 0);
    if (isBarred(pair)) complaints.push(...served.map(({ name }) => `${name}: a key that a policy bars`));
  }
  for (const application of applications) application.stop();
  await time.run(time.nowMs + 120_000, () => running === 0);
  if (running > 0) complaints.push(`${running} applications wait for ever`);
  await time.run(time.nowMs + QUIET_MS);
  for (const node of nodes.values()) void node.stop();
  await time.run(time.nowMs + 20_000);
  const left = [...nodes.values()].flatMap((node) =>
    node.holds().map((what) => `${node.uuid.slice(0, 2)}: ${what}`),
  );
  if (onEntry) for (const entry of history) onEntry(entry);
  const violations = judge({
    history,
    named,
    // Who lies about a decision makes its victim release what it has dropped itself.
    drops: faults.some(({ kind }) => kind === 'lie') ? [] : drops,
    complaints,
    unserved,
    left,
    secrets: secrets.left(),
    qkd: keyManagers.openStreams(),
  });
  return {
    ...{ plan, violations, simulatedMs: time.nowMs, events: time.count },
    keys: history.filter(({ op, status }) => op === 'GET_KEY' && status === 0).length,
    lacking: witness.lacking,
    digest: digest.digest('hex'),
  };
}

/** Whether a node's policy wants a kind of sources that the pair does not name: its streams are refused. */
function bars(witness: Witness, node: string, { keySources }: PairPlan): boolean {
  const policy = witness.policyOf(node);
  const named = keySources.split(',');
  if (policy === 'qkd-required') return !named.includes('QKD');
  return policy === 'pqc-required' && named.every((name) => name === 'QKD');
}

/**
 * Whoever has had no key since the faults ended. An end may read for a while
 * what the other end has long forgotten, so that one end of a pair is enough,
 * but for those that read fast and in order and close what they open.
 */
function unservedOf(
  pairs: readonly PairPlan[],
  applications: readonly Application[],
  sinceMs: number,
): string[] {
  return pairs.flatMap((pair, i) => {
    const ends = applications.slice(2 * i, 2 * i + 2);
    const without = ends.filter(({ lastKeyMs }) => lastKeyMs < sinceMs).map(({ name }) => name);
    const isSteady = pair.vanishes === 0 && pair.forgets === 0 && pair.picksIndex === 0 && pair.paceMs <= 500;
    return isSteady || without.length === ends.length ? without : [];
  });
}

interface Scene {
  readonly time: SimulatedTime;
  readonly network: SimulatedNetwork;
  readonly keyManagers: SimulatedKeyManagers;
  readonly nodes: ReadonlyMap<string, SimulatedNode>;
  readonly random: (name: string) => Prng;
}

/** Has a fault begin and end at its times. */
function schedule(fault: Fault, scene: Scene): void {
  const { time } = scene;
  time.at(fault.atMs, () => {
    const end = begin(fault, scene);
    time.at(time.nowMs + fault.forMs, end);
  });
}

/** Lets a fault begin; gives what ends it. */
function begin(fault: Fault, { time, network, keyManagers, nodes, random }: Scene): () => void {
  const nodeOf = (uuid: string) => nodes.get(uuid) as SimulatedNode;
  switch (fault.kind) {
    case 'weather':
      return changed(network.weather(fault.from, fault.to), fault.change, FAIR_WEATHER);
    case 'partition': {
      const ends = [...nodes.keys()]
        .filter((other) => other !== fault.node)
        .flatMap((other) => [network.weather(fault.node, other), network.weather(other, fault.node)])
        .map((weather) => changed(weather, { cut: fault.cut }, FAIR_WEATHER));
      return () => {
        for (const end of ends) end();
      };
    }
    case 'kill':
      nodeOf(fault.node).kill(fault.service);
      return () => nodeOf(fault.node).restart(fault.service);
    case 'slow':
      return changed(weatherOf(nodeOf(fault.node), fault.service), { workMs: fault.workMs }, FAIR_SERVICE);
    case 'failing':
      return changed(weatherOf(nodeOf(fault.node), fault.service), { failure: fault.failure }, FAIR_SERVICE);
    case 'hang':
      return changed(weatherOf(nodeOf(fault.node), fault.service), { hangs: true }, FAIR_SERVICE);
    case 'key-manager':
      return changed(keyManagers.faultsOf(fault.node), fault.change, SOUND_KEY_MANAGER);
    case 'lie':
      network.setLie(fault.node, lieOf(fault.lie, random(`lie ${fault.atMs}`), fault.probability));
      return () => network.setLie(fault.node, undefined);
    case 'wall-clock':
      time.setWall(fault.byMs);
      return () => time.setWall(-fault.byMs);
  }
}

const FAIR_SERVICE = { workMs: 1, failure: 0, hangs: false };
const SOUND_KEY_MANAGER = { down: false, repeats: 0, skips: 0, dry: false };

function weatherOf(node: SimulatedNode, service: Exclude<ServiceOfNode, 'gateway' | 'peer-broker'>) {
  return node.services[service].weather;
}

/** Changes some of an object's members; what is given sets those back to what they are in `fair`. */
function changed<T extends object>(target: T, change: Partial<T>, fair: T): () => void {
  Object.assign(target, change);
  return () => {
    for (const name of Object.keys(change) as (keyof T)[]) target[name] = fair[name];
  };
}
