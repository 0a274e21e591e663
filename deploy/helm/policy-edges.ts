import type { KubernetesObject } from './rendered.ts';

/** A pod, or something outside that has no labels but an address. */
export interface Party {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly address?: string;
}

interface Selector {
  readonly matchLabels?: Readonly<Record<string, string>>;
}

interface Peer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly ipBlock?: { readonly cidr: string };
}

interface Rule {
  readonly from?: readonly Peer[];
  readonly to?: readonly Peer[];
  readonly ports?: readonly { readonly protocol: string; readonly port: number }[];
}

/**
 * Whether policies let one party reach a TCP or UDP port of another, as
 * networking.k8s.io/v1 says: who is chosen by a policy for a direction may do
 * what some policy that chooses him allows, and nothing else.
 *
 * @param namespaceLabels labels of a namespace by its name, beside its name itself.
 */
export function mayReach(
  policies: readonly KubernetesObject[],
  [from, to]: readonly [Party, Party],
  { port, protocol = 'TCP' }: { port: number; protocol?: string },
): boolean {
  const allows = (direction: 'Ingress' | 'Egress', self: Party, other: Party) => {
    const chosen = policies.filter(
      ({ metadata, spec }) =>
        metadata.namespace === self.namespace &&
        spec.policyTypes.includes(direction) &&
        selects(spec.podSelector, self.labels),
    );
    if (chosen.length === 0) return true;
    return chosen.some(({ metadata, spec }) => {
      const rules = (direction === 'Ingress' ? spec.ingress : spec.egress) ?? [];
      return (rules as Rule[]).some((rule) => {
        const peers = direction === 'Ingress' ? rule.from : rule.to;
        // No list, or an empty one, is everybody.
        const isPeer = !peers?.length || peers.some((peer) => matches(peer, other, metadata.namespace ?? ''));
        const isPort =
          !rule.ports?.length || rule.ports.some((one) => one.port === port && one.protocol === protocol);
        return isPeer && isPort;
      });
    });
  };
  return allows('Egress', from, to) && allows('Ingress', to, from);
}

function matches(peer: Peer, party: Party, ownNamespace: string): boolean {
  if (peer.ipBlock) return party.address !== undefined && isIn(peer.ipBlock.cidr, party.address);
  if (party.namespace === undefined) return false;
  const inNamespace = peer.namespaceSelector
    ? selects(peer.namespaceSelector, { 'kubernetes.io/metadata.name': party.namespace })
    : party.namespace === ownNamespace;
  return inNamespace && (!peer.podSelector || selects(peer.podSelector, party.labels));
}

function selects(selector: Selector, labels: Readonly<Record<string, string>> = {}): boolean {
  const keys = Object.keys(selector).filter((key) => key !== 'matchLabels');
  if (keys.length > 0) throw new Error(`selectors by ${keys} are not understood here`);
  return Object.entries(selector.matchLabels ?? {}).every(([name, value]) => labels[name] === value);
}

/** Whole octets only, which is all that the tests need. */
function isIn(cidr: string, address: string): boolean {
  const [network = '', bits = ''] = cidr.split('/');
  const octets = Number(bits) / 8;
  if (!Number.isInteger(octets)) throw new Error(`${cidr} is not understood here`);
  return network.split('.').slice(0, octets).join('.') === address.split('.').slice(0, octets).join('.');
}
