import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { createClient, type TransportName } from '../../services/client/main.ts';
import { keyStreamContract } from '../contract/key-stream-contract.ts';
import { applicationOf } from '../helpers/applications.ts';
import { twoNodes } from '../helpers/network.ts';

/** The client library against whole nodes, by each of their listeners. */
const { network, alice, bob } = await twoNodes({
  config: () => ({
    listeners: { json: { tls: 'mutual' }, binary: { port: 0, max_bps: 0 }, grpc: { port: 0 } },
  }),
});
const [tls, strangerTls] = await Promise.all([
  applicationOf(network, 'own'),
  applicationOf(network, 'other'),
]);
const nobodyTls = { ca: tls.ca };
const TRANSPORTS: readonly TransportName[] = ['json', 'binary', 'grpc'];

for (const transport of TRANSPORTS)
  keyStreamContract({
    transport,
    addresses: [alice[transport] as Address, bob[transport] as Address],
    uuids: [alice.uuid, bob.uuid],
    ...{ tls, strangerTls, nobodyTls },
  });

describe('applications that speak different protocols', () => {
  for (const [one, other] of [
    ['json', 'binary'],
    ['binary', 'grpc'],
    ['grpc', 'json'],
  ] as const)
    it(`share streams: ${one} at the one node, ${other} at the other`, async () => {
      using a = await createClient({ transport: one, ...(alice[one] as Address), tls });
      using b = await createClient({ transport: other, ...(bob[other] as Address), tls: strangerTls });
      const app = `app-${randomUUID()}`;
      const uris = { source: `hybrid://${app}@${alice.uuid}`, destination: `hybrid://${app}@${bob.uuid}` };
      const [first, second] = await Promise.all([a.open(uris), b.open(uris)]);
      for (let i = 0; i < 10; i++) {
        using key = await first.next();
        using twin = await second.at(key.index);
        assert.deepEqual(key.key.expose(), twin.key.expose());
      }
      await Promise.all([first.close(), second.close()]);
    });
});
