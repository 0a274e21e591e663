import { copyFileSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NodeFolder, OWN, PEER, THIRD } from './node-folder.ts';
import { wrongKeyManagers } from './wrong-key-managers.ts';
import { wrongPolicies } from './wrong-policies.ts';
import { wrongTelemetry } from './wrong-telemetry.ts';

type Json = Record<string, unknown>;

export interface WrongFile {
  readonly what: string;
  /** The path of the offending key, as it must be told; its line must hold the last key of it that is in the file. */
  readonly path: string;
  readonly file: 'config' | 'peers';
  readonly words: RegExp;
  /** Objects, or texts as they are. */
  readonly config?: unknown;
  readonly peers?: unknown;
  /** Where only one service would trip over it. */
  readonly service?: string;
}

/** One wrong variant after another, each with a single fault, and what must be said of it. */
export function wrongFiles({ config, peers, folder, ports }: NodeFolder): WrongFile[] {
  const all: WrongFile[] = [];
  /** Lays an object over the sound config.json; undefined takes a member away. */
  const over = (change: Json, base: Json = config): Json => {
    const merged: Json = { ...base };
    for (const [key, value] of Object.entries(change)) {
      const both = isPlain(value) && isPlain(merged[key]);
      merged[key] = both ? over(value as Json, merged[key] as Json) : value;
    }
    return merged;
  };
  const wrong = (what: string, path: string, words: RegExp, change: Json, service?: string) =>
    all.push({ what, path, file: 'config', words, config: over(change), ...(service && { service }) });
  const wrongPeers = (what: string, path: string, words: RegExp, text: unknown) =>
    all.push({ what, path, file: 'peers', words, peers: text });
  const at = (key: string, value: unknown): Json =>
    key.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Json;
  const host = { host: '127.0.0.1' };
  const peer = (address: unknown) => ({ shared_seed: '123456789', address });
  const text = JSON.stringify(config, undefined, 2);
  const peersText = JSON.stringify(peers, undefined, 2);

  // Structure.
  wrong('an unknown key', 'polcy', /unknown key/, { polcy: {} });
  wrong('an unknown key inside', 'qkd.tiemout', /unknown key/, { qkd: { tiemout: '1s' } });
  wrong('a missing key', 'qkd_address', /expected object/, { qkd_address: undefined });
  wrong('a missing key inside', 'certificate_config.cert_path', /expected string/, {
    certificate_config: { cert_path: undefined },
  });
  wrong('a port that is a text', 'qkd_address.port', /expected number/, {
    qkd_address: { ...host, port: '1' },
  });
  wrong('a port out of range', 'qkd_address.port', /65535/, { qkd_address: { ...host, port: 70_000 } });
  wrong('a section that is null', 'limits', /expected object/, { limits: null });
  wrong('an unknown name of a level', 'logging_config.console_log_type', /Invalid option/, {
    logging_config: { console_log_type: 'loud' },
  });
  wrong('a service that there is not', 'services.gatewy', /unknown key/, { services: { gatewy: {} } });
  wrong('a caller that there is not', 'services.gateway.callers.0', /Invalid option/, {
    services: { gateway: { callers: ['nobody'] } },
  });
  wrong('a log file without a name', 'logging_config.filename', /required/, {
    logging_config: { file_log_type: 'info' },
  });
  all.push({
    what: 'no JSON',
    path: 'is not JSON',
    file: 'config',
    words: /ends at line 1/,
    config: '{"uuid":',
  });
  all.push({
    what: 'a comma too many',
    path: 'is not JSON',
    file: 'peers',
    words: /line \d+, column/,
    peers: peersText.replace(/\n}$/, ',\n}'),
  });

  // The same thing twice.
  all.push({
    what: 'a key that stands twice',
    path: 'uuid',
    file: 'config',
    words: /stands 2 times, first in line 2/,
    config: text.replace(/\n}$/, `,\n  "uuid": "${OWN}"\n}`),
  });
  all.push({
    what: 'a key inside that stands twice',
    path: 'qkd_address.port',
    file: 'config',
    words: /stands 2 times/,
    config: text.replace(/"qkd_address": {/, '"qkd_address": {\n    "port": 1,'),
  });
  wrongPeers(
    'a peer that stands twice',
    PEER,
    /stands 2 times/,
    peersText.replace(/\n}$/, `,\n  "${PEER}": ${JSON.stringify(peers[PEER])}\n}`),
  );
  wrongPeers('a peer twice, in other letters', PEER.toUpperCase(), /already/, {
    ...peers,
    [PEER.toUpperCase()]: peer({ host: '127.0.0.3', port: 1 }),
  });
  wrongPeers('two peers at one address', `${THIRD}.address`, /is the address of node bbbb/, {
    ...peers,
    [THIRD]: peer({ host: '127.0.0.2', port: ports.peer }),
  });
  wrongPeers('a peer at the own address', `${THIRD}.address`, /is the address of node aaaa/, {
    ...peers,
    [THIRD]: peer({ ...host, port: ports.peer }),
  });
  wrongPeers('a peer at the own listener', `${PEER}.address`, /peer_local_address/, {
    [PEER]: peer({ host: 'localhost', port: ports.peer }),
  });

  // Peers.
  wrongPeers('a peer that is no UUID', 'bob', /must be a UUID/, { bob: peer({ ...host, port: 1 }) });
  wrongPeers('a peer without an address', `${PEER}.address`, /expected object/, { [PEER]: {} });
  wrongPeers('a peer at port 0', `${PEER}.address.port`, /dialled/, { [PEER]: peer({ ...host, port: 0 }) });
  wrongPeers('a peer at every address', `${PEER}.address.host`, /every address/, {
    [PEER]: peer({ host: '0.0.0.0', port: 1 }),
  });
  wrongPeers('a peer at a host with blanks', `${PEER}.address.host`, /blanks/, {
    [PEER]: peer({ host: 'bob ', port: 1 }),
  });
  wrongPeers('a short shared_seed', `${PEER}.shared_seed`, /at least 8 bytes/, {
    [PEER]: { ...peer({ ...host, port: 1 }), shared_seed: 'short' },
  });
  wrongPeers('a list of peers', 'the file', /expected record/, '[]');

  // Identities and hosts.
  wrong('a UUID that is none', 'uuid', /must be a UUID/, { uuid: 'alice' });
  for (const [bad, words] of [
    ['999.1.1.1', /is no IP address/],
    ['10.0.1', /is no IP address/],
    ['http://kme', /scheme/],
    ['[::1]', /brackets/],
    ['::1::', /IP address or a host name/],
    [' kme', /blanks/],
    ['k me', /blanks/],
    ['kme:54000', /the port has a key of its own/],
    ['kme/24', /IP address or a host name/],
    ['', />=1|at least 1/],
  ] as const)
    wrong(`the host ${JSON.stringify(bad)}`, 'qkd_address.host', words, { qkd_address: { host: bad } });
  wrong('a host to bind that is none', 'hybridization_server_address.host', /is no IP address/, {
    hybridization_server_address: { host: '127.0.0.256' },
  });
  wrong('a subnet for the JSON API', 'hybridization_server_address.host', /IP address or a host name/, {
    hybridization_server_address: { host: '127.0.0.0/8' },
  });
  wrong('a listen_host that is none', 'services.gateway.listen_host', /brackets/, {
    services: { gateway: { listen_host: '[::]' } },
  });
  wrong('probes at a host that is none', 'health.host', /scheme/, { health: { host: 'http://x', port: 1 } });
  wrong('a certificate_ip with blanks', 'certificate_config.certificate_ip', /blanks/, {
    certificate_config: { certificate_ip: '127.0.0.1 ' },
  });
  wrong('a certificate_ip of every address', 'certificate_config.certificate_ip', /no address that peers/, {
    certificate_config: { certificate_ip: '0.0.0.0' },
  });

  // Ports.
  wrong('a key manager at port 0', 'qkd_address.port', /dialled/, { qkd_address: { port: 0 } });
  wrong('a service at port 0', 'services.gateway.address.port', /dialled/, {
    services: { gateway: { address: { ...host, port: 0 } } },
  });
  wrongKeyManagers(wrong);
  wrongPolicies(wrong);
  wrong('the own JSON API as key manager', 'qkd_address', /not a key manager/, {
    qkd_address: { ...host, port: ports.json },
  });
  wrong('JSON API and peers on one port', 'peer_local_address', /as the JSON API does/, {
    peer_local_address: { host: '0.0.0.0', port: ports.json },
  });
  wrong('two services on one port', 'services.hybridizer.address', /as the gRPC of pqc-source does/, {
    services: {
      'pqc-source': { address: { ...host, port: ports.grpc } },
      hybridizer: { address: { host: 'localhost', port: ports.grpc } },
    },
  });
  wrong('probes on the port of the JSON API', 'health.port', /as the JSON API does/, {
    health: { port: ports.json },
  });
  wrong(
    "probes on a service's own port, where it runs alone",
    'health.port',
    /as the gRPC of hybridizer does/,
    { health: { port: 50_054 } },
    'hybridizer',
  );

  // What URIs without a query mean.
  wrong('an unknown default_method', 'listeners.json.default_method', /unknown method "xor"/, {
    listeners: { json: { default_method: 'xor' } },
  });
  wrong(
    'an unknown KEM as default',
    'listeners.json.default_key_sources.1',
    /unknown key source "ML-KEM-42"/,
    {
      listeners: { json: { default_key_sources: ['QKD', 'ML-KEM-42'] } },
    },
  );
  wrong('no default source', 'listeners.json.default_key_sources', />=1|at least 1/, {
    listeners: { json: { default_key_sources: [] } },
  });
  wrong('too many default sources', 'listeners.json.default_key_sources', /at most 16/, {
    listeners: { json: { default_key_sources: Array.from({ length: 17 }, () => 'QKD') } },
  });
  wrong('a default KEM that no engine may do', 'listeners.json.default_key_sources.0', /pqc\.engines/, {
    pqc: { engines: ['openssl'] },
    listeners: { json: { default_key_sources: ['HQC-256', 'QKD'] } },
  });
  wrong(
    'a default method that needs two sources, of one',
    'listeners.json.default_method',
    /needs 2 sources/,
    {
      listeners: { json: { default_method: 'xoring', default_key_sources: ['QKD'] } },
    },
  );

  // Durations.
  for (const key of [
    'limits.default_timeout',
    'limits.request_timeout',
    'limits.idle_timeout',
    'limits.write_timeout',
    'qkd.timeout',
  ])
    wrong(`a ${key} of 0`, key, /at least 10ms/, at(key, '0s'));
  wrong('a max_timeout of 0', 'limits.max_timeout', /at least 10ms/, { limits: { max_timeout: '0h' } });
  for (const [key, value] of [
    ['limits.request_timeout', '700h'],
    ['limits.max_timeout', '99999h'],
    ['qkd.timeout', '700h'],
    ['limits.idle_timeout', '99999h'],
    ['limits.shutdown_grace', '700h'],
  ] as const)
    wrong(`a ${key} of ${value}`, key, /at most 596h/, at(key, value));
  wrong('a duration without a unit', 'qkd.timeout', /with a unit/, { qkd: { timeout: '5' } });
  wrong('a duration that is a number', 'qkd.timeout', /expected string/, { qkd: { timeout: 5000 } });
  wrong('a default_timeout above max_timeout', 'limits.default_timeout', /longer than limits.max_timeout/, {
    limits: { default_timeout: '2m', max_timeout: '1m' },
  });
  wrong('a limit of 0', 'limits.max_streams', />=1/, { limits: { max_streams: 0 } });

  // Files that are named.
  const elsewhere = join(folder, 'nowhere');
  const none = join(folder, 'none.pem');
  writeFileSync(none, 'no certificate');
  mkdirSync(join(folder, 'half'), { recursive: true });
  writeFileSync(join(folder, 'half', 'node.crt'), 'no certificate');
  const caPath = join(folder, 'ca', 'ca.crt');
  const files = (change: Json) => ({ certificate_config: change });
  wrong('a CA that is missing', 'certificate_config.cert_authority_path', /no such file.*certs ca --out/, {
    ...files({ cert_authority_path: join(elsewhere, 'ca.crt') }),
  });
  wrong('a CA that is none', 'certificate_config.cert_authority_path', /holds no PEM certificate/, {
    ...files({ cert_authority_path: none }),
  });
  wrong('revocation lists that are missing', 'certificate_config.crl_path', /no such file/, {
    ...files({ crl_path: join(elsewhere, 'ca.crl') }),
  });
  wrong('revocation lists that are none', 'certificate_config.crl_path', /none\.pem: holds no PEM/, {
    ...files({ crl_path: none }),
  });
  wrong('a CA that is a folder', 'certificate_config.cert_authority_path', /is a folder/, {
    ...files({ cert_authority_path: folder }),
  });
  wrong('a certificate without its key', 'certificate_config.cert_path', /peer-broker: missing .*node\.key/, {
    ...files({ cert_path: join(folder, 'half', 'node.crt'), key_path: join(folder, 'half', 'node.key') }),
  });
  wrong('certificates where none can be written', 'certificate_config.cert_path', /is no folder/, {
    ...files({ cert_path: join(none, 'node.crt') }),
  });
  wrong('key and certificate in one file', 'certificate_config.key_path', /file of cert_path/, {
    ...files({ key_path: join(folder, 'certs', 'node.crt') }),
  });
  wrong("the gateway's file for the peer-broker", 'certificate_config.cert_path', /file of the gateway/, {
    ...files({ cert_path: join(folder, 'certs', 'gateway.crt') }),
  });
  const logTo = (filename: string) => ({ logging_config: { file_log_type: 'info', filename } });
  wrong('a log file that is a folder', 'logging_config.filename', /is a folder/, logTo(folder));
  wrong('a log file below a file', 'logging_config.filename', /is no folder/, logTo(join(none, 'x.log')));
  const dangling = join(folder, 'dangling');
  if (!lstatSync(dangling, { throwIfNoEntry: false })) symlinkSync(elsewhere, dangling);
  wrong(
    'a log file that is a link to nowhere',
    'logging_config.filename',
    /link to nowhere/,
    logTo(dangling),
  );
  wrong(
    'a log file below a link to nowhere',
    'logging_config.filename',
    /link to nowhere/,
    logTo(join(dangling, 'x.log')),
  );
  const tls = (change: Json) => ({ qkd: { tls: { ca_path: caPath, ...change } } });
  wrong(
    'a TLS certificate without its key',
    'qkd.tls.cert_path',
    /needs a key_path/,
    tls({ cert_path: caPath }),
  );
  wrong(
    'a TLS key without its certificate',
    'qkd.tls.key_path',
    /needs a cert_path/,
    tls({ key_path: caPath }),
  );
  wrong("a key manager's CA that is missing", 'qkd.tls.ca_path', /no such file/, tls({ ca_path: elsewhere }));
  wrong(
    "a key that is not the certificate's",
    'qkd.tls.key_path',
    /is not a PEM private key/,
    tls({ cert_path: caPath, key_path: none }),
  );

  wrongTelemetry(wrong, { folder, caPath, elsewhere });
  return all;
}

/** Files that are unusual, and right. */
export function rightFiles({ config, peers, folder, ports }: NodeFolder): [what: string, files: object][] {
  const text = JSON.stringify(config, undefined, 2);
  const ca = readFileSync(join(folder, 'ca', 'ca.crt'), 'utf8');
  const several = join(folder, 'ca', 'several.crt');
  writeFileSync(several, `${ca}\n${ca}`);
  copyFileSync(join(folder, 'ca', 'ca.key'), join(folder, 'ca', 'several.key'));
  const { certificate_config: certificates } = config as { certificate_config: Json };
  return [
    ['the sound ones', {}],
    ['a byte order mark', { config: `\uFEFF${text}`, peers: `\uFEFF${JSON.stringify(peers)}` }],
    ['$schema', { config: { $schema: 'x.json', ...config }, peers: { $schema: 'y.json', ...peers } }],
    [
      'upper case',
      { config: { ...config, uuid: OWN.toUpperCase(), logging_config: { console_log_type: 'NONE' } } },
    ],
    ['no peers', { peers: {} }],
    [
      'a file of several CAs',
      { config: { ...config, certificate_config: { ...certificates, cert_authority_path: several } } },
    ],
    [
      'a node that is not among its peers',
      { peers: { [PEER]: { address: { host: 'bob.example', port: 1 } } } },
    ],
    ['an IPv6 key manager', { config: { ...config, qkd_address: { host: '::1', port: 1 } } }],
    ['names with underscores', { config: { ...config, qkd_address: { host: 'kme_1', port: 1 } } }],
    ['a stop without grace', { config: { ...config, limits: { shutdown_grace: '0s' } } }],
    ['long durations', { config: { ...config, limits: { max_timeout: '596h', idle_timeout: '596h' } } }],
    [
      'one port on two addresses',
      {
        config: {
          ...config,
          services: { hybridizer: { address: { host: '127.0.0.9', port: ports.json } } },
        },
      },
    ],
    [
      'a log file in a folder that is not there yet',
      {
        config: {
          ...config,
          logging_config: { file_log_type: 'info', filename: join(folder, 'new', 'deep', 'x.log') },
        },
      },
    ],
    [
      'a compatible method of one source, with a stand-in',
      {
        config: {
          ...config,
          policy: { missing_source: 'shared_seed' },
          listeners: { json: { default_method: 'XORING', default_key_sources: ['qkd'] } },
        },
      },
    ],
  ];
}

function isPlain(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
