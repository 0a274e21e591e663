import { LISTENER_NAME, type OfferedStream } from '../../delivery/listener-streams.ts';
import type { KeyKind } from './key-kinds.ts';
import type { Parties, Party } from './parties.ts';

const URI = new RegExp(`^hybrid://${LISTENER_NAME}([a-z]+)~([^@/?#]+)@([0-9a-f-]{36})(?:[?]|$)`);

/** One master and those that shall have the same keys, at another node. */
export interface Group {
  readonly master: Party;
  /** One at least, all at one node, each once, in ascending order of their names. */
  readonly slaves: readonly Party[];
}

/** The slaves of a group, in its order. */
export function inOrder(slaves: readonly Party[]): Party[] {
  return slaves.toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

/** URIs of a group's stream: whose keys it carries is part of what both ends agree on. */
export function urisOf(
  { name: kind }: KeyKind,
  { master, slaves }: Group,
  method: string,
  sources: readonly string[],
) {
  const query = `hybridization=${method}&key_sources=${sources.join(',')}`;
  const names = slaves.map(({ name }) => name).join(',');
  const [first] = slaves as [Party];
  return {
    source: `hybrid://${LISTENER_NAME}${kind}~${master.name}@${master.node}?${query}`,
    destination: `hybrid://${LISTENER_NAME}${kind}~${names}@${first.node}`,
  };
}

/** Whether a URI names parties of a kind. */
export function isOf({ name }: KeyKind, uri: string): boolean {
  return uri.startsWith(`hybrid://${LISTENER_NAME}${name}~`);
}

/** The group of an offered stream; undefined where the URIs are none of this kind, or name whom the settings do not know. */
export function groupOf(
  { name: kind }: KeyKind,
  { source, destination, peer }: OfferedStream,
  parties: Parties,
): Group | undefined {
  const [, masterKind, masterName = '', masterNode] = URI.exec(source) ?? [];
  const [, slavesKind, slaveNames = '', slaveNode] = URI.exec(destination) ?? [];
  if (masterKind !== kind || slavesKind !== kind) return undefined;
  const master = parties.named(masterName);
  const slaves = slaveNames.split(',').map((name) => parties.named(name));
  const isAt = (party: Party | undefined, node: string | undefined) =>
    party !== undefined && party.node === node;
  if (!master || masterNode !== peer || !isAt(master, peer)) return undefined;
  if (slaveNode !== parties.nodeUuid || !slaves.every((slave) => isAt(slave, parties.nodeUuid)))
    return undefined;
  const known = inOrder(slaves as Party[]);
  const isInOrder = known.every((slave, i) => slave === slaves[i] && slave !== known[i - 1]);
  return isInOrder ? { master, slaves: known } : undefined;
}
