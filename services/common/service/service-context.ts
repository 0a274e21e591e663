import type { Address } from '#common/config/fields.ts';
import type { NodeConfig, ServiceName } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import type { LivePeers } from '#common/config/trusted-peers-file.ts';
import type { Log } from '#common/log/log.ts';
import type { Readiness } from '#common/service/readiness.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import type { TlsIdentity } from '#common/tls/identity.ts';

/** Where each service of the own node is dialled over gRPC (peer-broker: its internal port). */
export type ServiceAddresses = Readonly<Record<ServiceName, Address>>;

/** All that a service is started with. */
export interface ServiceContext {
  readonly service: ServiceName;
  readonly config: NodeConfig;
  /** The trusted peers as they are now: the record changes as the file does. */
  readonly peers: TrustedPeers;
  /** Word of such changes. */
  readonly onPeersChange: LivePeers['onChange'];
  readonly addresses: ServiceAddresses;
  /** The service's own certificate, kept fresh. */
  readonly identity: TlsIdentity;
  readonly log: Log;
  /** What the service needs to do its work; parts add their checks while they start. */
  readonly readiness: Readiness;
  /** Calls `listener` whenever log files are to be opened anew, after whoever rotates them has moved them away. */
  readonly onReopenLogs?: (listener: () => void) => void;
  /** Absent where none is configured. */
  readonly telemetry?: Telemetry;
}

/** A service that serves; `stop` drains with a cap, wipes what it holds and never rejects. */
export interface RunningService {
  /** Addresses that it listens on, by listener name, for the ready line. */
  readonly listening: Readonly<Record<string, Address>>;
  stop(): Promise<void>;
}
