import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsOptions } from 'node:tls';
import { createCa, issueClientCertificate, issueServiceCertificate } from '#certs/issue.ts';

/** Certificates of key managers and of their clients, under a CA of their own. */
export interface KmeTls {
  /** For the key managers: client certificates of the CA are asked for. */
  readonly server: TlsOptions;
  /** `qkd.tls` of a client of that name. */
  client(name: string): Promise<{ ca_path: string; cert_path: string; key_path: string }>;
  /** A CA that issued none of them. */
  readonly otherCaPath: string;
  /** Removes the files. */
  remove(): void;
}

export async function makeKmeTls(): Promise<KmeTls> {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-kme-'));
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const network = 'key-managers';
  const ca = await createCa({ network, days: 1 });
  const ca_path = write('ca.crt', ca.certificate);
  const otherCaPath = write('other.crt', (await createCa({ network: 'others', days: 1 })).certificate);
  const { certificate: cert, key } = await issueServiceCertificate({
    ...{ ca, network, nodeUuid: '00000000-0000-4000-8000-000000000000', service: 'kme', days: 1 },
    names: ['127.0.0.1'],
  });
  return {
    server: { cert, key, ca: ca.certificate, requestCert: true, rejectUnauthorized: true },
    client: async (name) => {
      const own = await issueClientCertificate({ ca, network, days: 1, name });
      return {
        ca_path,
        cert_path: write(`${name}.crt`, own.certificate),
        key_path: write(`${name}.key`, own.key),
      };
    },
    otherCaPath,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
