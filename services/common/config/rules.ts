import { basename } from 'node:path';
import { accessFaults } from '#common/config/access/access-rules.ts';
import { appListenerFaults } from '#common/config/app-listener-rules.ts';
import type { Address, Fault } from '#common/config/fields.ts';
import { type NodeConfig, SERVICE_NAMES } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import { isLoopback, isUnspecified, sameHost } from '#common/net/same-host.ts';

/** What the single keys of config.json cannot say of each other. */
export function configFaults(config: NodeConfig): Fault[] {
  return [
    ...logFaults(config),
    ...certificateFaults(config),
    ...addressFaults(config),
    ...appListenerFaults(config),
    ...accessFaults(config),
    ...qkdFaults(config),
    ...saeFaults(config),
    ...timeoutFaults(config),
    ...telemetryFaults(config),
  ];
}

/** The same of trusted_peers_info.json, beside the config.json that it goes with. */
export function peersFaults(peers: TrustedPeers, config: NodeConfig | undefined): Fault[] {
  const faults: Fault[] = [];
  const seen: [uuid: string, address: Address][] = [];
  for (const [uuid, { address }] of Object.entries(peers)) {
    const path = [uuid, 'address'];
    const same = seen.find(([, other]) => sameAddress(other, address));
    if (same) faults.push({ path, message: `is the address of node ${same[0]} too` });
    seen.push([uuid, address]);
    if (!config || uuid === config.uuid) continue;
    faults.push(...dialledFaults(path, address));
    if (!same && sameAddress(address, config.peer_local_address))
      faults.push({ path, message: "is the own node's peer_local_address" });
  }
  return faults;
}

/** Two entries of trusted_peers_info.json for one node, which differ in case only: of the text as it was written. */
export function repeatedPeers(uuids: readonly string[]): Fault[] {
  const seen = new Set<string>();
  const faults: Fault[] = [];
  for (const uuid of uuids) {
    const lower = uuid.toLowerCase();
    if (seen.has(lower)) faults.push({ path: [uuid], message: 'is in the file already, in other letters' });
    seen.add(lower);
  }
  return faults;
}

function logFaults({ logging_config: log }: NodeConfig): Fault[] {
  if (log.file_log_type === 'none' || log.filename !== undefined) return [];
  return [{ path: ['logging_config', 'filename'], message: 'required unless file_log_type is none' }];
}

/** `cert_path` and `key_path` are the peer-broker's: files that take the name of another service's would be overwritten by it. */
function certificateFaults({ certificate_config: files }: NodeConfig): Fault[] {
  const faults: Fault[] = [];
  for (const [key, ending] of [
    ['cert_path', 'crt'],
    ['key_path', 'key'],
  ] as const) {
    const owner = SERVICE_NAMES.find(
      (name) => name !== 'peer-broker' && basename(files[key]) === `${name}.${ending}`,
    );
    if (owner !== undefined) {
      const message = `is the file of the ${owner}, which lies beside it; the peer-broker's needs another name, such as node.${ending}`;
      faults.push({ path: ['certificate_config', key], message });
    }
  }
  const { cert_path, key_path, cert_authority_path } = files;
  if (cert_path === key_path)
    faults.push({ path: ['certificate_config', 'key_path'], message: 'is the file of cert_path' });
  if (cert_path === cert_authority_path)
    faults.push({ path: ['certificate_config', 'cert_path'], message: 'is the file of cert_authority_path' });
  return faults;
}

function addressFaults(config: NodeConfig): Fault[] {
  const faults = dialledFaults(['qkd_address'], config.qkd_address);
  if (isUnspecified(config.certificate_config.certificate_ip)) {
    const message = 'is no address that peers could connect to';
    faults.push({ path: ['certificate_config', 'certificate_ip'], message });
  }
  if (sameAddress(config.qkd_address, config.hybridization_server_address))
    faults.push({
      path: ['qkd_address'],
      message: "is the node's own hybridization_server_address, not a key manager",
    });
  for (const name of SERVICE_NAMES) {
    const address = config.services[name]?.address;
    if (address) faults.push(...dialledFaults(['services', name, 'address'], address));
  }
  return faults;
}

/** What is dialled has to be somewhere. */
function dialledFaults(path: readonly PropertyKey[], { host, port }: Address): Fault[] {
  const faults: Fault[] = [];
  if (port === 0)
    faults.push({ path: [...path, 'port'], message: 'cannot be dialled: it must be from 1 on' });
  if (isUnspecified(host))
    faults.push({ path: [...path, 'host'], message: `${host} is every address, which nobody can dial` });
  return faults;
}

function qkdFaults({ qkd, qkd_address: { host } }: NodeConfig): Fault[] {
  const { driver, tls, join } = qkd;
  const faults = tls ? pairFaults(['qkd', 'tls'], tls) : [];
  if (driver === 'etsi004-json') return faults;
  if (join === 'uris') {
    faults.push({ path: ['qkd', 'join'], message: `uris is for etsi004-json, not for ${driver}` });
  }
  if (tls?.cert_path === undefined && tls?.key_path === undefined && !isLoopback(host)) {
    const message = `needs ca_path, cert_path and key_path: without TLS both ways ${driver} is for loopback, which ${host} is not`;
    faults.push({ path: ['qkd', 'tls'], message });
  }
  return faults;
}

/** Key managers tell nodes apart by their SAE ids. */
function saeFaults({ uuid, qkd: { driver, sae_ids: ids } }: NodeConfig): Fault[] {
  if (driver !== 'etsi014') return [];
  const faults: Fault[] = [];
  const known = new Map([[ids[uuid] ?? uuid, uuid]]);
  for (const [node, id] of Object.entries(ids)) {
    const other = known.get(id) ?? node;
    if (other !== node)
      faults.push({ path: ['qkd', 'sae_ids', node], message: `is that of node ${other} too` });
    known.set(id, node);
  }
  return faults;
}

/** A certificate and its key go together. */
function pairFaults(
  section: readonly string[],
  tls: { cert_path?: string | undefined; key_path?: string | undefined },
): Fault[] {
  if ((tls.cert_path === undefined) === (tls.key_path === undefined)) return [];
  const [there, missing] = tls.cert_path === undefined ? ['key', 'cert'] : ['cert', 'key'];
  return [
    {
      path: [...section, `${there}_path`],
      message: `needs a ${missing}_path: they go together or not at all`,
    },
  ];
}

function timeoutFaults({ limits }: NodeConfig): Fault[] {
  if (limits.default_timeout <= limits.max_timeout) return [];
  return [{ path: ['limits', 'default_timeout'], message: 'is longer than limits.max_timeout' }];
}

/** What is told about keys leaves the machine encrypted only. */
function telemetryFaults({ telemetry, logging_config: log }: NodeConfig): Fault[] {
  if (!telemetry) return [];
  const { traces, otlp, audit } = telemetry;
  const faults: Fault[] = [];
  if (traces && !otlp)
    faults.push({ path: ['telemetry', 'traces'], message: 'go nowhere without telemetry.otlp' });
  if (audit && audit.filename === log.filename)
    faults.push({ path: ['telemetry', 'audit', 'filename'], message: 'is the file of logging_config' });
  if (!otlp) return faults;
  const { protocol, hostname } = new URL(otlp.endpoint);
  // A URL has IPv6 in brackets.
  if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[(.*)\]$/, '$1'))) {
    const message = 'must be https: http goes to 127.0.0.1, ::1 and localhost only';
    faults.push({ path: ['telemetry', 'otlp', 'endpoint'], message });
  }
  faults.push(...pairFaults(['telemetry', 'otlp'], otlp));
  return faults;
}

function sameAddress(one: Address, other: Address): boolean {
  return one.port === other.port && one.port !== 0 && sameHost(one.host, other.host);
}
