import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureNodeCertificates } from '#certs/ensure.ts';
import { createCa, issueServiceCertificate, type PemPair } from '#certs/issue.ts';
import { type NodeConfig, nodeConfigSchema, type ServiceName } from '#common/config/node-config.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { Readiness } from '#common/service/readiness.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { loadTlsIdentity, type TlsIdentity } from '#common/tls/identity.ts';

export { ALICE, BOB } from './streams.ts';

/** A CA and a folder for certificates of its network; `remove` ends the identities and deletes the folder. */
export interface TestCertificates {
  readonly ca: PemPair;
  readonly folder: string;
  /** Configuration of a node whose certificates lie in a folder of its own. */
  config(uuid: string, change?: object): NodeConfig;
  /** What a service of that node would be started with; its addresses are the given ports of loopback. */
  context(
    config: NodeConfig,
    service: ServiceName,
    ports?: Partial<Record<ServiceName, number>>,
    log?: ServiceContext['log'],
  ): Promise<ServiceContext>;
  /** An identity with whatever name the certificate shall carry. */
  identity(nodeUuid: string, service: string, days?: number): Promise<TlsIdentity>;
  remove(): void;
}

export async function testCertificates(): Promise<TestCertificates> {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-certificates-'));
  const ca = await createCa({ network: 'keyweave', days: 2 });
  writeFileSync(join(folder, 'ca.crt'), ca.certificate);
  writeFileSync(join(folder, 'ca.key'), ca.key);
  const identities: TlsIdentity[] = [];
  const kept = (identity: TlsIdentity) => {
    identities.push(identity);
    return identity;
  };
  const config = (uuid: string, change: object = {}) => {
    const address = { host: '127.0.0.1', port: 1 };
    return nodeConfigSchema.parse({
      uuid,
      certificate_config: {
        certificate_ip: '127.0.0.1',
        cert_authority_path: join(folder, 'ca.crt'),
        cert_path: join(folder, uuid, 'node.crt'),
        key_path: join(folder, uuid, 'node.key'),
      },
      hybridization_server_address: address,
      qkd_address: address,
      peer_local_address: address,
      ...change,
    });
  };
  return {
    ca,
    folder,
    config,
    async context(nodeConfig, service, ports = {}, log = silentLog) {
      await ensureNodeCertificates(nodeConfig, [service], silentLog);
      const at = (name: ServiceName) => ({ host: '127.0.0.1', port: ports[name] ?? 0 });
      const { certificate_config: files } = nodeConfig;
      const [certPath, keyPath] =
        service === 'peer-broker'
          ? [files.cert_path, files.key_path]
          : [join(files.cert_path, '..', `${service}.crt`), join(files.key_path, '..', `${service}.key`)];
      const readiness = new Readiness();
      readiness.started();
      return {
        service,
        readiness,
        config: nodeConfig,
        peers: {},
        onPeersChange: () => () => undefined,
        addresses: {
          gateway: at('gateway'),
          'qkd-source': at('qkd-source'),
          'pqc-source': at('pqc-source'),
          'peer-broker': at('peer-broker'),
          hybridizer: at('hybridizer'),
        },
        identity: kept(
          loadTlsIdentity({ caPath: files.cert_authority_path, certPath, keyPath, log: silentLog }),
        ),
        log,
      };
    },
    async identity(nodeUuid, service, days = 1) {
      const pair = await issueServiceCertificate({
        ca,
        network: 'keyweave',
        nodeUuid,
        service,
        names: [],
        days,
      });
      const [certPath, keyPath] = [join(folder, 'one.crt'), join(folder, 'one.key')];
      writeFileSync(certPath, pair.certificate);
      writeFileSync(keyPath, pair.key);
      return kept(loadTlsIdentity({ caPath: join(folder, 'ca.crt'), certPath, keyPath, log: silentLog }));
    },
    remove() {
      for (const identity of identities) identity.close();
      rmSync(folder, { recursive: true });
    },
  };
}
