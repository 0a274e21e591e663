import { LISTENER_NAME, type OfferedStream } from '../../../delivery/listener-streams.ts';
import type { Owner } from '../../../streams/owner.ts';
import type { Sae, Saes } from '../saes.ts';

const OF_THIS_LISTENER = `${LISTENER_NAME}rest~`;

const URI = new RegExp(`^hybrid://${OF_THIS_LISTENER}([^@/?#]+)@([0-9a-f-]{36})(?:[?]|$)`);

/**
 * Who owns the listener's streams. No certificate's name has a comma that is
 * not quoted, so that no application on another listener is taken for it.
 */
export const LISTENER: Owner = { identity: 'listeners.rest, for SAEs', address: 'listeners.rest' };

/** One master SAE and those that shall have the same keys, at another node. */
export interface Group {
  readonly master: Sae;
  /** One at least, all at one node, each once, in ascending order of their names. */
  readonly slaves: readonly Sae[];
}

/** The slaves of a group, in its order. */
export function inOrder(slaves: readonly Sae[]): Sae[] {
  return slaves.toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

/** URIs of a group's stream: whose keys it carries is part of what both ends agree on. */
export function urisOf({ master, slaves }: Group, method: string, sources: readonly string[]) {
  const query = `hybridization=${method}&key_sources=${sources.join(',')}`;
  const names = slaves.map(({ name }) => name).join(',');
  const [first] = slaves as [Sae];
  return {
    source: `hybrid://${OF_THIS_LISTENER}${master.name}@${master.node}?${query}`,
    destination: `hybrid://${OF_THIS_LISTENER}${names}@${first.node}`,
  };
}

/** Whether a URI names SAEs. */
export function isOfThisListener(uri: string): boolean {
  return uri.startsWith(`hybrid://${OF_THIS_LISTENER}`);
}

/** The group of an offered stream; undefined where the URIs are none of this listener's, or name whom it does not know. */
export function groupOf({ source, destination, peer }: OfferedStream, saes: Saes): Group | undefined {
  const [, masterName = '', masterNode] = URI.exec(source) ?? [];
  const [, slaveNames = '', slaveNode] = URI.exec(destination) ?? [];
  const master = saes.named(masterName);
  const slaves = slaveNames.split(',').map((name) => saes.named(name));
  const isAt = (sae: Sae | undefined, node: string | undefined) => sae !== undefined && sae.node === node;
  if (!master || masterNode !== peer || !isAt(master, peer)) return undefined;
  if (slaveNode !== saes.nodeUuid || !slaves.every((slave) => isAt(slave, saes.nodeUuid))) return undefined;
  const known = inOrder(slaves as Sae[]);
  const isInOrder = known.every((slave, i) => slave === slaves[i] && slave !== known[i - 1]);
  return isInOrder ? { master, slaves: known } : undefined;
}
