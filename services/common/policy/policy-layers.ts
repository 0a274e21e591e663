import { findKemAlgorithm } from '#common/catalogue/kems.ts';
import { findMethod } from '#common/catalogue/methods.ts';
import type { ListenerPolicyConfig, PolicyConfig } from '#common/policy/policy-section.ts';

/** What one place of config.json says of sources; of all that count for a stream the strictest does. */
export interface PolicyLayer extends ListenerPolicyConfig {
  /** Path of the place, such as `policy` or `listeners.json.policy`. */
  readonly path: string;
}

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
  const { floor, peers } = policy;
  const entry = peer === undefined ? undefined : peers[peer];
  const layers: PolicyLayer[] = [{ path: 'policy', floor }];
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

function belowLayer({ path, floor = {} }: PolicyLayer, { method, sources }: StreamMake) {
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
