import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { frontEndContract, type Wish } from '../contract/front-end-contract.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { binaryDoor, type ClientPem, type DoorOptions, grpcDoor, jsonDoor } from '../helpers/doors.ts';
import { twoNodes } from '../helpers/network.ts';

/** Every front end of two whole nodes, each with client certificates, of which two may open streams. */
const { network, alice, bob } = await twoNodes({
  config: () => ({
    listeners: { json: { tls: 'mutual' }, binary: { port: 0, max_bps: 0 }, grpc: { port: 0 } },
    access: {
      clients: ['own', 'other'].map((name) => ({ identity: `spiffe://apps/${name}`, applications: ['*'] })),
    },
  }),
});

async function client(name: string): Promise<ClientPem> {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const { certificate, key } = await clientCertificate(ca, {
    subject: `CN=${name}`,
    names: [{ type: 'url', value: `spiffe://apps/${name}` }],
  });
  return { ca: ca.certificate, cert: certificate, key };
}

const options: DoorOptions = {
  initiator: alice,
  responder: bob,
  own: await client('own'),
  other: await client('other'),
  stranger: await client('stranger'),
};

function wish(): Wish {
  const ksid = randomUUID();
  const query = 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD';
  return {
    ksid,
    source: `hybrid://${ksid}@${alice.uuid}?${query}`,
    destination: `hybrid://${ksid}@${bob.uuid}?${query}`,
  };
}

for (const door of [jsonDoor, binaryDoor, grpcDoor]) frontEndContract(door(options), wish);
