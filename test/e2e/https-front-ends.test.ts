import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Address } from '#common/config/fields.ts';
import { hardCases } from '../contract/front-end-contract.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import type { ClientPem } from '../helpers/doors.ts';
import { nodeUuid, twoNodes } from '../helpers/network.ts';
import { restDoor } from '../helpers/rest-door.ts';
import { skipDoor } from '../helpers/skip-door.ts';

// As the shipped image has it.
process.env.NODE_OPTIONS = '--disallow-code-generation-from-strings';

const { network, alice, bob } = await twoNodes({
  config: () => ({
    listeners: {
      rest: { port: 0, saes: { 'sae-a': { node: nodeUuid(0) }, 'sae-b': { node: nodeUuid(1) } } },
      skip: { port: 0, systems: { 'router-a': { node: nodeUuid(0) }, 'router-b': { node: nodeUuid(1) } } },
    },
  }),
});

async function pemOf(name: string): Promise<ClientPem> {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const { certificate, key } = await clientCertificate(ca, { subject: `CN=${name}` });
  return { ca: ca.certificate, cert: certificate, key };
}

const door = restDoor({
  master: { id: 'sae-a', address: alice.rest as Address, pem: await pemOf('sae-a') },
  stranger: await pemOf('sae-c'),
  slave: { id: 'sae-b', address: bob.rest as Address, pem: await pemOf('sae-b') },
});

hardCases(door, door);

const skip = skipDoor({
  one: { id: 'router-a', address: alice.skip as Address, pem: await pemOf('router-a') },
  other: { id: 'router-b', address: bob.skip as Address, pem: await pemOf('router-b') },
  stranger: await pemOf('router-c'),
});

hardCases(skip, skip);
