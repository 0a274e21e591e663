import { after } from 'node:test';
import { makeKmeTls } from '../helpers/kme-tls.ts';
import { troubleWithKeyManagers } from '../helpers/kme-trouble.ts';
import { nodeUuid, twoNodes } from '../helpers/network.ts';

const tls = await makeKmeTls();
after(() => tls.remove());
const clients = { Alice: await tls.client('alice'), Bob: await tls.client('bob') };
const tlsOf = (node: string) => clients[node as keyof typeof clients];
const SAE_IDS = { [nodeUuid(0)]: 'alice', [nodeUuid(1)]: 'bob' };

/** A handshake on a machine that is busy must come through in it. */
const TIMEOUT = '1s';

// Both are up before the first test is.
const binary = await twoNodes({
  config: (node) => ({ qkd: { timeout: TIMEOUT, driver: 'etsi004-binary', tls: tlsOf(node) } }),
  kme: { dialect: 'etsi004-binary', tls: tls.server },
});
const named = await twoNodes({
  config: (node) => ({
    qkd: { timeout: TIMEOUT, driver: 'etsi014', tls: tlsOf(node), sae_ids: SAE_IDS },
  }),
  kme: { dialect: 'etsi014', tls: tls.server, saeIds: Object.values(SAE_IDS) },
});

troubleWithKeyManagers('in the binary protocol over TLS', binary);
troubleWithKeyManagers('named by ETSI 014 over TLS', named);
