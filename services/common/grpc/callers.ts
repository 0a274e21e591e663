import type { NodeConfig, ServiceName } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { parseSpiffeId, spiffeId } from '#common/tls/spiffe.ts';

/** Whether somebody may call: a Set, or something that changes. */
export type CallerList = Pick<ReadonlySet<string>, 'has'>;

/** Name of a caller: a service of the own node, or a tool with a certificate of the own node. */
export type CallerName = ServiceName | 'tool';

/** Metadata entry in which the authorised caller's SPIFFE id reaches the handlers; what a client sends there is dropped. */
export const CALLER_METADATA = 'keyweave-caller';

/** The same of a name that an open stream has in this process. */
export const STREAM_METADATA = 'keyweave-stream';

/** The callers that the architecture needs, by service; nobody else gets in unless the configuration names them. */
const DEFAULT_CALLERS: Readonly<Record<ServiceName, readonly CallerName[]>> = {
  gateway: ['peer-broker'],
  'qkd-source': ['gateway'],
  'pqc-source': ['gateway'],
  'peer-broker': ['gateway'],
  hybridizer: ['gateway'],
};

/**
 * SPIFFE ids that may call the internal RPCs of `service`: the configured
 * list where there is one, and a configured empty list denies everybody.
 */
export function ownCallers(config: NodeConfig, service: ServiceName): ReadonlySet<string> {
  const names = config.services[service]?.callers ?? DEFAULT_CALLERS[service];
  return new Set(names.map((name) => spiffeId(config.certificate_config.network, config.uuid, name)));
}

/** SPIFFE ids of the trusted peers' brokers, as the peers are when it is asked. */
export function peerBrokerCallers(config: NodeConfig, peers: TrustedPeers): CallerList {
  return {
    has: (caller) => {
      const identity = parseSpiffeId(caller);
      return (
        identity?.service === 'peer-broker' &&
        identity.network === config.certificate_config.network &&
        identity.nodeUuid !== config.uuid &&
        Object.hasOwn(peers, identity.nodeUuid)
      );
    },
  };
}

/** Every service of the own node. */
export function anyOwnService(config: NodeConfig): ReadonlySet<string> {
  const names: CallerName[] = ['gateway', 'qkd-source', 'pqc-source', 'peer-broker', 'hybridizer', 'tool'];
  return new Set(names.map((name) => spiffeId(config.certificate_config.network, config.uuid, name)));
}

/** The caller's SPIFFE id as the authorisation put it into the call's metadata. */
export function callerOf(metadata: { get(name: string): unknown }): string {
  const caller = metadata.get(CALLER_METADATA);
  if (typeof caller !== 'string')
    throw new KeyweaveError('NOT_ALLOWED', 'the call carries no authorised caller');
  return caller;
}

/** Metadata entry that names the node at the far end of a KeyAgreement call (see key_agreement.proto). */
export const PEER_METADATA = 'keyweave-peer';
