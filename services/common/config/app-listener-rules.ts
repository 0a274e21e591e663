import { findKemAlgorithm } from '#common/catalogue/kems.ts';
import { findMethod } from '#common/catalogue/methods.ts';
import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import type { Fault } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { isLoopback, isUnspecified } from '#common/net/same-host.ts';
import { belowFloor, listenerLayer, nodeLayers } from '#common/policy/policy-layers.ts';

/** Those of applications. */
type ListenerName = Exclude<keyof NodeConfig['listeners'], 'console'>;

/** What is wrong with the listeners of applications that the single keys cannot say. */
export function appListenerFaults(config: NodeConfig): Fault[] {
  const names = Object.keys(config.listeners).filter((name) => name !== 'console') as ListenerName[];
  return [
    ...names.flatMap((name) => defaultFaults(config, name)),
    ...binaryFaults(config),
    ...restFaults(config),
    ...skipFaults(config),
    ...consoleFaults(config),
  ];
}

/** What of the listeners does not go with the trusted peers. */
export function listenerPeerFaults({ uuid, listeners, policy }: NodeConfig, peers: TrustedPeers): Fault[] {
  const { binary, rest, skip } = listeners;
  const faults: Fault[] = [];
  const others = Object.keys(peers).filter((node) => node !== uuid);
  const checkAt = (path: readonly string[], node: string | undefined, mayBeOwn: boolean) => {
    if (node === undefined || others.includes(node) || (mayBeOwn && node === uuid)) return;
    const message = `${node} is ${node === uuid ? 'the own node' : 'no trusted peer'}`;
    faults.push({ path, message });
  };
  const check = (path: readonly string[], node: string | undefined, mayBeOwn: boolean) =>
    checkAt(['listeners', ...path], node, mayBeOwn);
  check(['binary', 'default_peer'], binary?.default_peer, false);
  for (const [host, node] of Object.entries(binary?.peers ?? {}))
    check(['binary', 'peers', host], node, true);
  for (const [id, { node }] of Object.entries(rest?.saes ?? {}))
    check(['rest', 'saes', id, 'node'], node, true);
  for (const [id, { node }] of Object.entries(skip?.systems ?? {}))
    check(['skip', 'systems', id, 'node'], node, true);
  for (const node of Object.keys(policy.peers)) checkAt(['policy', 'peers', node], node, false);
  return faults;
}

function binaryFaults({ listeners: { binary } }: NodeConfig): Fault[] {
  return binary ? plainFaults('binary', binary) : [];
}

/** The console's page is plain on loopback alone, and asks health ports that can be dialled. */
function consoleFaults({ listeners: { console } }: NodeConfig): Fault[] {
  if (!console) return [];
  const faults = plainFaults('console', { ...console, tls: consoleTls(console) });
  for (const [i, { host, port }] of (console.health ?? []).entries()) {
    const path = ['listeners', 'console', 'health', i];
    if (port === 0)
      faults.push({ path: [...path, 'port'], message: 'cannot be dialled: it must be from 1 on' });
    if (isUnspecified(host))
      faults.push({ path: [...path, 'host'], message: `${host} is every address, which nobody can dial` });
  }
  return faults;
}

/** How the console's page is served: without TLS where nobody but this machine reaches it, unless it is told otherwise. */
export function consoleTls({ tls, host }: NonNullable<NodeConfig['listeners']['console']>): 'mutual' | 'off' {
  return tls ?? (isLoopback(host) ? 'off' : 'mutual');
}

function plainFaults(
  name: 'binary' | 'console',
  { tls, host, client_ca_path }: { tls: 'mutual' | 'off'; host: string; client_ca_path?: string | undefined },
): Fault[] {
  if (tls !== 'off') return [];
  const faults: Fault[] = [];
  const at = (key: string) => ['listeners', name, key];
  if (!isLoopback(host))
    faults.push({ path: at('tls'), message: `off is for loopback, which ${host} is not` });
  if (client_ca_path !== undefined)
    faults.push({ path: at('client_ca_path'), message: 'is for TLS, which is off' });
  return faults;
}

/** Sizes that go together and that the method makes, and SAEs that can be told apart. */
function restFaults({ uuid, listeners: { rest }, limits }: NodeConfig): Fault[] {
  if (!rest) return [];
  const faults = namedKeysFaults('rest', rest);
  const { max_key_per_request } = rest;
  if (max_key_per_request > limits.max_buffered_chunks) {
    const message = `is more than limits.max_buffered_chunks, ${limits.max_buffered_chunks}`;
    faults.push({ path: ['listeners', 'rest', 'max_key_per_request'], message });
  }
  return [...faults, ...partyFaults(uuid, ['listeners', 'rest', 'saes'], 'SAE', rest.saes)];
}

/** The same of systems, and pre-shared keys that are somebody's. */
function skipFaults({ uuid, listeners: { skip } }: NodeConfig): Fault[] {
  if (!skip) return [];
  const { systems, psk } = skip;
  const faults = namedKeysFaults('skip', skip);
  faults.push(...partyFaults(uuid, ['listeners', 'skip', 'systems'], 'system', systems));
  const identities = Object.entries(psk?.identities ?? {});
  const fault = (message: string, ...path: string[]) =>
    faults.push({ path: ['listeners', 'skip', 'psk', 'identities', ...path], message });
  if (psk && identities.length === 0) fault('names no identity, so that nobody could use one');
  for (const [identity, { system = identity }] of identities) {
    const { node = uuid } = Object.hasOwn(systems, system) ? (systems[system] ?? {}) : { node: '' };
    if (node !== uuid) fault(`${quote(system)} is no system of this node`, identity);
  }
  return faults;
}

/** Sizes of the keys of a listener that names them. */
function namedKeysFaults(
  name: 'rest' | 'skip',
  settings: Pick<
    NonNullable<NodeConfig['listeners']['rest']>,
    'key_size' | 'min_key_size' | 'max_key_size' | 'default_method' | 'default_key_sources'
  >,
): Fault[] {
  const faults: Fault[] = [];
  const fault = (message: string, key: string) => faults.push({ path: ['listeners', name, key], message });
  const { key_size, min_key_size, max_key_size, default_method, default_key_sources } = settings;
  if (key_size < min_key_size || key_size > max_key_size)
    fault(`must be ${min_key_size} to ${max_key_size}, as min_key_size and max_key_size say`, 'key_size');
  const largest = 8 * largestKeyBytes(default_method, default_key_sources);
  if (max_key_size > largest)
    fault(`${default_method} makes keys of ${largest} bits at most of these sources`, 'max_key_size');
  return faults;
}

/** Parties of which one can call, and each can be told from the others. */
function partyFaults(
  uuid: string,
  path: readonly string[],
  kind: string,
  settings: NonNullable<NodeConfig['listeners']['rest']>['saes'],
): Fault[] {
  const faults: Fault[] = [];
  const parties = Object.entries(settings);
  if (!parties.some(([, { node = uuid }]) => node === uuid))
    faults.push({ path, message: `names no ${kind} of this node, so that nobody could call` });
  const seen = new Map<string, string>();
  for (const [id, { identity }] of parties) {
    if (identity === undefined) continue;
    const before = seen.get(identity);
    if (before !== undefined)
      faults.push({ path: [...path, id, 'identity'], message: `is that of ${quote(before)}, too` });
    seen.set(identity, id);
  }
  return faults;
}

/** What method and sources make at most, bytes; no limit where they are not known, which is told elsewhere. */
function largestKeyBytes(methodName: string, sources: readonly string[]): number {
  const method = findMethod(methodName);
  const secrets = sources.map((name) =>
    name.toUpperCase() === 'QKD' ? QKD_SECRET_BYTES : findKemAlgorithm(name)?.sharedSecretBytes,
  );
  if (!method || secrets.includes(undefined)) return Number.POSITIVE_INFINITY;
  return method.maxChunkBytes(secrets as number[]);
}

/** What a URI without a query means has to make a key. */
function defaultFaults({ listeners, pqc, policy }: NodeConfig, listener: ListenerName): Fault[] {
  const settings = listeners[listener];
  if (!settings) return [];
  const at = (key: string, ...more: number[]) => ['listeners', listener, key, ...more];
  const faults: Fault[] = [];
  const method = findMethod(settings.default_method);
  if (!method)
    faults.push({ path: at('default_method'), message: `unknown method ${quote(settings.default_method)}` });
  const sources = settings.default_key_sources;
  if (sources.length > MESSAGE_LIMITS.slots.filled)
    faults.push({
      path: at('default_key_sources'),
      message: `at most ${MESSAGE_LIMITS.slots.filled} sources are woven`,
    });
  for (const [i, name] of sources.entries()) {
    if (name.toUpperCase() === 'QKD') continue;
    const kem = findKemAlgorithm(name);
    if (!kem) {
      const message = `unknown key source ${quote(name)}; see 'keyweave algorithms'`;
      faults.push({ path: at('default_key_sources', i), message });
    } else if (!kem.engines.some((engine) => pqc.engines.includes(engine))) {
      const message = `${kem.name} is done by ${kem.engines.join(' and ')}, which pqc.engines leaves out`;
      faults.push({ path: at('default_key_sources', i), message });
    }
  }
  if (method && sources.length < method.minDistinctSecrets && policy.missing_source === 'refuse') {
    const message = `${method.name} needs ${method.minDistinctSecrets} sources, and default_key_sources names ${sources.length}`;
    faults.push({ path: at('default_method'), message });
  }
  const own = listenerLayer(listener, settings.policy);
  const layers = own ? [...nodeLayers(policy), own] : nodeLayers(policy);
  const below = faults.length === 0 && method && belowFloor(layers, { method: method.name, sources });
  if (below) faults.push({ path: at(`default_${BELOW[below.about]}`), message: below.inWords() });
  return faults;
}

const BELOW = { method: 'method', sources: 'key_sources' } as const;

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}
