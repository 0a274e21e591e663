import type { NodeConfig } from '#common/config/node-config.ts';
import type { Secret } from '#common/crypto/secret.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import type { Log } from '#common/log/log.ts';
import type { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import type { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import type { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import type { SourceFaults } from '../production/source-faults.ts';
import type { KeyPairs } from './kem-client.ts';
import type { PeerLink } from './peer-link.ts';

/** What production of keys leans on, at either end. */
export interface NodeServices {
  readonly nodeUuid: string;
  readonly keyPairs: KeyPairs;
  readonly pqcSource: ServiceClient<PqcSourceDefinition>;
  readonly qkdSource: ServiceClient<QkdSourceDefinition>;
  readonly hybridizer: ServiceClient<HybridizerDefinition>;
  readonly limits: NodeConfig['limits'];
  readonly qkd: NodeConfig['qkd'];
  readonly log: Log;
  readonly sourceFaults: SourceFaults;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** The seed agreed with a peer, where its entry has one. */
  sharedSeed(peerNode: string): Secret | undefined;
  peer(nodeUuid: string): PeerLink;
}

/** Limits of the single steps of an exchange, milliseconds. */
export const STEP_TIMEOUT_MS = {
  /** Key generation of the slowest KEM on a busy machine without the native engine. */
  generate: 120_000,
  /** The responder's whole half: encapsulation, its key manager, derivation. */
  produce: 30_000,
  encapsulate: 20_000,
  decapsulate: 20_000,
  derive: 5_000,
  confirm: 3_000,
  demand: 3_000,
  rendezvous: 3_000,
  close: 3_000,
} as const;
