import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCa } from '#certs/issue.ts';
import { freePorts } from '../../services/cli/free-ports.ts';

export const OWN = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
export const PEER = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
export const THIRD = 'cccccccc-cccc-cccc-cccc-cccccccccccc';

const HOST = '127.0.0.1';

/** A node's two files, as their text says it. */
export interface NodeTexts {
  config: string;
  peers: string;
}

/** One node's CA, files and ports, without anything that runs. */
export interface NodeFolder {
  readonly folder: string;
  /** Sound files, on ports that are free: those of the JSON API, of peers, of the probes, and of the five services. */
  readonly config: Record<string, unknown>;
  readonly peers: Record<string, unknown>;
  readonly ports: Readonly<Record<'json' | 'peer' | 'health' | 'grpc', number>>;
  /** Writes files into a folder of their own; gives the arguments that name them. */
  write(name: string, files?: { config?: unknown; peers?: unknown }): string[];
  remove(): void;
}

/** Makes a folder with a CA, in which a node could start. */
export async function nodeFolder(): Promise<NodeFolder> {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-node-'));
  const ca = await createCa({ network: 'keyweave', days: 2 });
  mkdirSync(join(folder, 'ca'));
  writeFileSync(join(folder, 'ca', 'ca.crt'), ca.certificate);
  writeFileSync(join(folder, 'ca', 'ca.key'), ca.key, { mode: 0o600 });
  const [json = 0, peer = 0, health = 0, grpc = 0, qkd = 0] = await freePorts(HOST, 5);
  const config = {
    uuid: OWN,
    logging_config: { console_log_type: 'none' },
    certificate_config: {
      certificate_ip: HOST,
      cert_authority_path: join(folder, 'ca', 'ca.crt'),
      cert_path: join(folder, 'certs', 'node.crt'),
      key_path: join(folder, 'certs', 'node.key'),
    },
    hybridization_server_address: { host: HOST, port: json },
    qkd_address: { host: HOST, port: qkd },
    peer_local_address: { host: HOST, port: peer },
  };
  const peers = {
    [OWN]: { shared_seed: '123456789', address: { host: HOST, port: peer } },
    [PEER]: { shared_seed: '123456789', address: { host: '127.0.0.2', port: peer } },
  };
  return {
    folder,
    config,
    peers,
    ports: { json, peer, health, grpc },
    write(name, files = {}) {
      const home = join(folder, name);
      mkdirSync(home, { recursive: true });
      const [configPath, peersPath] = [join(home, 'config.json'), join(home, 'trusted_peers_info.json')];
      writeFileSync(configPath, textOf(files.config ?? config));
      writeFileSync(peersPath, textOf(files.peers ?? peers));
      return ['--config', configPath, '--peers', peersPath];
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function textOf(file: unknown): string {
  return typeof file === 'string' ? file : JSON.stringify(file, undefined, 2);
}
