import { findKemAlgorithm } from '#common/catalogue/kems.ts';
import { findMethod } from '#common/catalogue/methods.ts';
import type { ListenerPolicyConfig, PolicyConfig, SourcePolicy } from '#common/policy/policy-section.ts';

/** What one place of config.json says of sources; of all that count for a stream the strictest does. */
export interface PolicyLayer extends ListenerPolicyConfig {
  /** Path of the place, such as `policy` or `listeners.json.policy`. */
  readonly path: string;
}

/** QKD, and what pqc-source makes. */
export type SourcePolicyKind = 'qkd' | 'pqc';

/** What each policy lets be left out, and what a stream has to name under it. */
const POLICIES: Readonly<
  Record<SourcePolicy, { mayLack: readonly SourcePolicyKind[]; requires?: SourcePolicyKind }>
> = {
  all: { mayLack: [] },
  'qkd-required': { mayLack: ['pqc'], requires: 'qkd' },
  'pqc-required': { mayLack: ['qkd'], requires: 'pqc' },
  any: { mayLack: ['qkd', 'pqc'] },
};

/** What a stream is made of, by name: `QKD`, and KEMs. */
export interface StreamMake {
  readonly method: string;
  readonly sources: readonly string[];
}

/** A floor that a stream is below. */
export interface BelowFloor {
  /** Which of the two is below it. */
  readonly about: keyof StreamMake;
  /** In words that name the floor's key; `whose` where another node may read them. */
  inWords(whose?: string): string;
}

/** What the file says of all streams, and of those with one peer. */
export function nodeLayers(policy: PolicyConfig, peer?: string): PolicyLayer[] {
  const { sources, floor, peers } = policy;
  const entry = peer === undefined ? undefined : peers[peer];
  const layers: PolicyLayer[] = [{ path: 'policy', sources, floor }];
  if (entry) layers.push({ ...entry, path: `policy.peers.${peer}` });
  return layers;
}

/** What the file says of the streams of a listener; undefined = nothing. */
export function listenerLayer(
  listener: string,
  policy: ListenerPolicyConfig | undefined,
): PolicyLayer | undefined {
  return policy && { ...policy, path: `listeners.${listener}.policy` };
}

/**
 * Whether the policies of a node let sources of a kind be left out: one has to
 * say so, and none may say otherwise. What a listener says can only narrow it.
 */
export function mayLeaveOut(layers: readonly PolicyLayer[], kind: SourcePolicyKind): boolean {
  const said = layers.flatMap(({ sources }) => sources ?? []);
  return said.length > 0 && said.every((name) => POLICIES[name].mayLack.includes(kind));
}

/** Whether a policy wants QKD itself in every chunk. */
export function requiresQkd(layers: readonly PolicyLayer[]): boolean {
  return layers.some(({ sources }) => sources !== undefined && POLICIES[sources].requires === 'qkd');
}

/** Name of the policy that lets just that be left out. */
export function policyName(mayLack: Readonly<Record<SourcePolicyKind, boolean>>): SourcePolicy {
  if (mayLack.qkd) return mayLack.pqc ? 'any' : 'pqc-required';
  return mayLack.pqc ? 'qkd-required' : 'all';
}

/** The first floor that a stream is below; undefined where it is below none. */
export function belowFloor(layers: readonly PolicyLayer[], make: StreamMake): BelowFloor | undefined {
  for (const layer of layers) {
    const found = belowLayer(layer, make);
    if (found) return found;
  }
  return undefined;
}

/** Kinds of sources: QKD and KEMs. */
export function kindsOf(sources: readonly string[]): number {
  return new Set(sources.map(isQkdName)).size;
}

function belowLayer({ path, sources: policy, floor = {} }: PolicyLayer, { method, sources }: StreamMake) {
  const required = policy && POLICIES[policy].requires;
  if (required !== undefined && !sources.some((name) => isQkdName(name) === (required === 'qkd'))) {
    const what = required === 'qkd' ? 'QKD' : 'KEM';
    return below('sources', `${path}.sources`, `is ${policy}, and ${sources.join(', ')} has no ${what}`);
  }
  const { methods, min_kinds: minKinds = 1, min_nist_category: minCategory = 1 } = floor;
  if (methods && !methods.some((name) => findMethod(name)?.name === method))
    return below('method', `${path}.floor.methods`, `allows ${methods.join(', ')}, not ${method}`);
  if (kindsOf(sources) < minKinds) {
    const [one, other] = sources.some(isQkdName) ? ['QKD', 'a KEM'] : ['KEMs', 'QKD'];
    const words = `wants QKD and a KEM, and ${sources.join(', ')} is of ${one} alone: name ${other}, too`;
    return below('sources', `${path}.floor.min_kinds`, words);
  }
  for (const name of sources) {
    const category = findKemAlgorithm(name)?.nistLevel ?? 5;
    if (category >= minCategory) continue;
    const words = `is ${minCategory}, and ${name} is of NIST category ${category}`;
    return below('sources', `${path}.floor.min_nist_category`, words);
  }
  return undefined;
}

function below(about: keyof StreamMake, key: string, words: string): BelowFloor {
  return {
    about,
    inWords: (whose) => `${key}${whose === undefined ? '' : ` of node ${whose}`} ${words}`,
  };
}

function isQkdName(name: string): boolean {
  return name.toUpperCase() === 'QKD';
}
