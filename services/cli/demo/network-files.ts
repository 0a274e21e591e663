import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCa } from '#certs/issue.ts';
import type { Address } from '#common/config/fields.ts';
import { freePorts } from '../free-ports.ts';

/** A node whose config.json and trusted_peers_info.json lie in `folder`. */
export interface NodeFiles {
  readonly name: string;
  readonly uuid: string;
  readonly folder: string;
}

/**
 * Writes what a network of nodes on this machine needs: a CA, and a folder for
 * each node, each on a loopback address of its own, as a user of the reference
 * would write them.
 *
 * @param kmes addresses of the nodes' key managers, in the order of `names`.
 * @param caMadeMs when the CA, good for two days, is made, milliseconds since 1970; now by default.
 */
export async function writeNetworkFiles(
  folder: string,
  names: readonly string[],
  kmes: readonly Address[],
  caMadeMs?: number,
): Promise<NodeFiles[]> {
  const made = caMadeMs === undefined ? {} : { nowMs: caMadeMs };
  const ca = await createCa({ network: 'keyweave', days: 2, ...made });
  mkdirSync(join(folder, 'ca'));
  writeFileSync(join(folder, 'ca', 'ca.crt'), ca.certificate);
  writeFileSync(join(folder, 'ca', 'ca.key'), ca.key, { mode: 0o600 });
  const nodes = await Promise.all(
    names.map(async (name, i) => {
      const host = `127.0.0.${i + 1}`;
      const [json = 0, peer = 0] = await freePorts(host, 2);
      return { name, uuid: nodeUuid(i), host, json, peer, kme: kmes[i] as Address };
    }),
  );
  const peers = Object.fromEntries(
    nodes.map(({ uuid, host, peer }) => [uuid, { shared_seed: '123456789', address: { host, port: peer } }]),
  );
  return nodes.map((node) => {
    const home = join(folder, node.name);
    mkdirSync(home);
    const config = {
      uuid: node.uuid,
      logging_config: {
        console_log_type: 'warning',
        colorless_console_log: true,
        file_log_type: 'debug',
        filename: join(home, 'hybrid.log'),
      },
      certificate_config: {
        certificate_ip: node.host,
        cert_authority_path: join(folder, 'ca', 'ca.crt'),
        cert_path: join(home, 'certs', 'node.crt'),
        key_path: join(home, 'certs', 'node.key'),
      },
      hybridization_server_address: { host: node.host, port: node.json },
      qkd_address: node.kme,
      peer_local_address: { host: node.host, port: node.peer },
    };
    writeFileSync(join(home, 'config.json'), JSON.stringify(config, undefined, 2));
    writeFileSync(join(home, 'trusted_peers_info.json'), JSON.stringify(peers, undefined, 2));
    return { name: node.name, uuid: node.uuid, folder: home };
  });
}

/** aaaaaaaa-aaaa-… for the first node, bbbbbbbb-bbbb-… for the second, as in the reference's examples. */
export function nodeUuid(i: number): string {
  const digit = (10 + i).toString(16);
  return [8, 4, 4, 4, 12].map((length) => digit.repeat(length)).join('-');
}
