import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { clientCertificate } from './client-certificate.ts';
import type { ClientPem } from './doors.ts';
import type { LocalNetwork } from './network.ts';

/** What an application of a network shows, by its name. */
export async function applicationOf(
  { folder }: Pick<LocalNetwork, 'folder'>,
  name: string,
): Promise<ClientPem> {
  const read = (file: string) => readFileSync(join(folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const { certificate, key } = await clientCertificate(ca, {
    subject: `CN=${name}`,
    names: [{ type: 'url', value: `spiffe://apps/${name}` }],
  });
  return { ca: ca.certificate, cert: certificate, key };
}
