import { ANONYMOUS } from '#common/config/access/access-section.ts';
import type { Fault } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';

/** What is wrong with the list of clients that the single keys cannot say. */
export function accessFaults({ access }: Pick<NodeConfig, 'access'>): Fault[] {
  const faults: Fault[] = [];
  const seen = new Map<string, number>();
  for (const [i, { identity }] of (access?.clients ?? []).entries()) {
    const before = seen.get(identity);
    if (before === undefined) seen.set(identity, i);
    else
      faults.push({ path: ['access', 'clients', i, 'identity'], message: `is that of entry ${before}, too` });
  }
  return faults;
}

/** What of the list does not go with the trusted peers. */
export function accessPeerFaults({ uuid, access }: NodeConfig, trusted: TrustedPeers): Fault[] {
  return (access?.clients ?? []).flatMap(({ peers = [] }, i) =>
    peers.flatMap((node, j) => {
      if (node === '*' || (node !== uuid && Object.hasOwn(trusted, node))) return [];
      const message = `${node} is ${node === uuid ? 'the own node' : 'no trusted peer'}`;
      return [{ path: ['access', 'clients', i, 'peers', j], message }];
    }),
  );
}

/** Listeners, but for that of the SAEs, by whether they know their clients by certificates. */
export function listenersByAuthentication({ listeners }: Pick<NodeConfig, 'listeners'>): {
  readonly mutual: readonly string[];
  readonly plain: readonly string[];
} {
  const { json, binary, grpc } = listeners;
  const all: [name: string, isMutual: boolean][] = [['listeners.json', json.tls === 'mutual']];
  if (binary) all.push(['listeners.binary', binary.tls === 'mutual']);
  if (grpc) all.push(['listeners.grpc', true]);
  const names = (wanted: boolean) => all.flatMap(([name, isMutual]) => (isMutual === wanted ? [name] : []));
  return { mutual: names(true), plain: names(false) };
}

/** What the list means that nobody may have meant, in words. */
export function accessWarnings(config: Pick<NodeConfig, 'access' | 'listeners'>): string[] {
  const clients = config.access?.clients;
  if (!clients) return [];
  if (clients.length === 0) return ['access.clients is empty: nobody may open a stream'];
  const { mutual, plain } = listenersByAuthentication(config);
  const isListed = clients.some(({ identity }) => identity === ANONYMOUS);
  if (plain.length > 0 && !isListed) {
    return [
      `${plain.join(' and ')} asks for no certificates, and access.clients has no entry "${ANONYMOUS}": nobody may open a stream there`,
    ];
  }
  if (plain.length === 0 && isListed) {
    return [
      `access.clients has an entry "${ANONYMOUS}", and ${mutual.join(' and ')} asks for certificates: it lets nobody in`,
    ];
  }
  return [];
}
