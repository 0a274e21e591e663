import type { Address, Fault } from '#common/config/fields.ts';
import type { NodeConfig, ServiceName } from '#common/config/node-config.ts';
import { hostsOverlap } from '#common/net/same-host.ts';

/** What runs together in one place: one machine, or one container. */
export interface Place {
  readonly services: readonly ServiceName[];
  /** Where the services' gRPC listens, where that is known; what is absent takes a free port. */
  readonly addresses: Readonly<Partial<Record<ServiceName, Address>>>;
  /** Whether the probes are served here. */
  readonly health: boolean;
}

interface Listener {
  readonly name: string;
  readonly path: readonly PropertyKey[];
  readonly address: Address;
}

/** Two listeners of one place that want the same port. */
export function listenerFaults(config: NodeConfig, place: Place): Fault[] {
  const faults: Fault[] = [];
  const listeners = listenersOf(config, place);
  for (const [i, { name, path, address }] of listeners.entries()) {
    const before = listeners
      .slice(0, i)
      .find((other) => other.address.port === address.port && hostsOverlap(other.address.host, address.host));
    if (before && address.port !== 0)
      faults.push({ path, message: `${name} would listen on port ${address.port}, as ${before.name} does` });
  }
  return faults;
}

function listenersOf(config: NodeConfig, { services, addresses, health }: Place): Listener[] {
  const listeners: Listener[] = [];
  const add = (name: string, path: readonly PropertyKey[], address: Address) =>
    listeners.push({ name, path, address });
  const { hybridization_server_address: json, listeners: doors } = config;
  if (services.includes('gateway')) {
    add('the JSON API', ['hybridization_server_address'], json);
    if (doors.binary) add('the binary API', ['listeners', 'binary', 'port'], doors.binary);
    if (doors.grpc) add('the gRPC API', ['listeners', 'grpc', 'port'], doors.grpc);
    if (doors.rest) add('the REST API', ['listeners', 'rest', 'port'], doors.rest);
    if (doors.skip) add('the SKIP API', ['listeners', 'skip', 'port'], doors.skip);
    if (doors.console) add('the console', ['listeners', 'console', 'port'], doors.console);
  }
  if (services.includes('peer-broker'))
    add('the peer-broker for peers', ['peer_local_address'], config.peer_local_address);
  for (const name of services) {
    const address = addresses[name];
    if (!address) continue;
    const host = config.services[name]?.listen_host ?? address.host;
    add(`the gRPC of ${name}`, ['services', name, 'address'], { ...address, host });
  }
  if (health && config.health) add('the probes', ['health', 'port'], config.health);
  return listeners;
}
