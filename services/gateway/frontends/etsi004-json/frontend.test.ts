import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { NodeConfig } from '#common/config/node-config.ts';
import { Secret } from '#common/crypto/secret.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';
import { clientCertificate } from '#test/helpers/client-certificate.ts';
import { QOS } from '#test/helpers/streams.ts';
import type { KeyDelivery } from '../../delivery/key-delivery.ts';
import type { Owner } from '../../streams/owner.ts';
import { startEtsi004Json } from './frontend.ts';

const KSID = '11111111-1111-4111-8111-111111111111';

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

/** A delivery that gives anybody anything, and notes who asked. */
function generousDelivery(): { delivery: KeyDelivery; owners: Owner[]; presences: string[] } {
  const owners: Owner[] = [];
  const presences: string[] = [];
  return {
    owners,
    presences,
    delivery: {
      open: async ({ owner, presence }) => {
        owners.push(owner);
        presences.push(presence);
        return { ksid: KSID, qos: QOS, adjusted: undefined };
      },
      getKey: ({ owner }) => {
        owners.push(owner);
        return { index: 0, key: new Secret(Buffer.alloc(32, 7)), metadata: '' };
      },
      close: ({ owner }) => void owners.push(owner),
    },
  };
}

function configOf(json: object, port = 0): NodeConfig {
  return certificates.config(ALICE, {
    listeners: { json },
    hybridization_server_address: { host: '127.0.0.1', port },
  });
}

describe('the JSON front end', () => {
  it('hands on who calls, as the client certificate says, in all three calls', async () => {
    const config = configOf({ tls: 'mutual', peer_presence: 'node' });
    const { delivery, owners, presences } = generousDelivery();
    const frontEnd = await startEtsi004Json(await certificates.context(config, 'gateway'), delivery);
    const names = [{ type: 'url', value: 'spiffe://apps/alice' }] as const;
    const { certificate: cert, key } = await clientCertificate(certificates.ca, { subject: 'CN=a', names });
    const client = connectTls({
      ...{ ...frontEnd.listening.json, cert, key, ca: certificates.ca.certificate },
      checkServerIdentity: () => undefined,
    });
    const calls = [
      { command: 'OPEN_CONNECT', data: { source: 'a', destination: 'b' } },
      { command: 'GET_KEY', data: { key_stream_id: KSID } },
      { command: 'CLOSE', data: { key_stream_id: KSID } },
    ];
    for (const call of calls) {
      client.write(JSON.stringify(call));
      const [answer] = await once(client, 'data');
      assert.equal(JSON.parse(String(answer)).status, 0);
    }
    const address = `127.0.0.1:${client.localPort}`;
    assert.deepEqual(owners, Array(3).fill({ identity: 'spiffe://apps/alice', address }));
    assert.deepEqual(presences, ['node']);
    const closed = new Promise((resolve) => client.resume().once('close', resolve));
    await frontEnd.stop();
    await closed;
  });

  it('is not opened on an address that is taken, and names the setting', async (t) => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.after(() => other.close());
    const config = configOf({}, (other.address() as { port: number }).port);
    const context = await certificates.context(config, 'gateway');
    await assert.rejects(
      startEtsi004Json(context, generousDelivery().delivery),
      (error) =>
        isReason(error, 'BAD_CONFIG') && /hybridization_server_address: cannot listen/.test(`${error}`),
    );
  });
});
