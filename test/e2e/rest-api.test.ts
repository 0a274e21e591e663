import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { eventually, type LocalNode, nodeUuid, twoNodes } from '../helpers/network.ts';
import { RestClient, rawConnection } from '../helpers/rest-client.ts';

const [ALICE, BOB] = [nodeUuid(0), nodeUuid(1)];

/** SAEs of Alice, and of Bob; the second of Bob's has an ID that has to be escaped in URLs. */
const SAES = {
  'sae-a': { node: ALICE },
  'sae-a2': { node: ALICE },
  'sae-b': { node: BOB },
  'sae/b 2@x': { node: BOB },
  'sae-b3': { node: BOB },
};
const B2 = encodeURIComponent('sae/b 2@x');

const { network, alice, bob } = await twoNodes({
  config: () => ({
    listeners: { rest: { port: 0, saes: SAES, max_key_per_request: 32 } },
    limits: { max_request_bytes: 16_384 },
  }),
});

const clients: RestClient[] = [];
after(() => {
  for (const client of clients) client.disconnect();
});

async function pemOf(name: string): Promise<ConnectionOptions> {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const { certificate, key } = await clientCertificate(ca, { subject: `CN=${name}` });
  return { ca: ca.certificate, cert: certificate, key };
}

async function sae(name: string, node: LocalNode): Promise<RestClient> {
  const client = new RestClient(node.rest as Address, await pemOf(name));
  clients.push(client);
  return client;
}

const [a, a2, b, b2, b3] = await Promise.all([
  sae('sae-a', alice),
  sae('sae-a2', alice),
  sae('sae-b', bob),
  sae('sae/b 2@x', bob),
  sae('sae-b3', bob),
]);

const idsOf = (keys: readonly { id: string }[]) => ({ key_IDs: keys.map(({ id }) => ({ key_ID: id })) });

describe('the REST API of ETSI GS QKD 014', () => {
  it('has keys ready before anybody has asked for one', async () => {
    const stored = await eventually('keys that are stored', 60_000, async () => {
      const { body } = await a.get('sae-b/status');
      return body.stored_key_count === 10 ? body.stored_key_count : undefined;
    });
    assert.equal(stored, 10);
  });

  it('gives master and slave the same keys, by GET and POST, in both directions', async () => {
    for (const [master, slave, masterId, slaveId] of [
      [a, b, 'sae-a', 'sae-b'],
      [b, a, 'sae-b', 'sae-a'],
      [a2, b, 'sae-a2', 'sae-b'],
      [a, b2, 'sae-a', B2],
    ] as const) {
      const one = await master.get(`${slaveId}/enc_keys`);
      assert.deepEqual([one.code, one.keys.length, one.keys[0]?.key.length], [200, 1, 32]);
      const same = await slave.get(`${masterId}/dec_keys?key_ID=${one.keys[0]?.id}`);
      assert.deepEqual([same.code, same.keys], [200, one.keys]);

      const ten = await master.post(`${slaveId}/enc_keys`, { number: 10, size: 256 });
      assert.equal(new Set(ten.keys.map(({ key }) => key.toString('hex'))).size, 10);
      const tenAgain = await slave.post(`${masterId}/dec_keys`, idsOf(ten.keys));
      assert.deepEqual([tenAgain.code, tenAgain.keys], [200, ten.keys]);
    }
  });

  it('gives keys of the size that is asked for', async () => {
    for (const bits of [64, 128, 512, 4_096]) {
      const { code, keys } = await a.get(`sae-b/enc_keys?number=2&size=${bits}`);
      assert.deepEqual([code, keys.map(({ key }) => key.length)], [200, [bits / 8, bits / 8]]);
      assert.deepEqual((await b.post('sae-a/dec_keys', idsOf(keys))).keys, keys);
    }
  });

  it('names keys by UUIDs of version 8, never the same', async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 4; i++) {
      const { keys } = await a.get('sae-b/enc_keys?number=32');
      for (const { id } of keys) {
        assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        seen.add(id);
      }
    }
    assert.equal(seen.size, 128);
  });

  it('tells how things stand', async () => {
    const { code, body } = await a.get('sae-b/status');
    const { stored_key_count: stored, ...others } = body;
    assert.equal(code, 200);
    assert.ok(Number.isInteger(stored) && (stored as number) <= 1_024);
    assert.deepEqual(others, {
      source_KME_ID: ALICE,
      target_KME_ID: BOB,
      master_SAE_ID: 'sae-a',
      slave_SAE_ID: 'sae-b',
      key_size: 256,
      max_key_count: 1_024,
      max_key_per_request: 32,
      max_key_size: 4_096,
      min_key_size: 64,
      max_SAE_ID_count: 8,
    });
  });

  it('delivers each key once, and to its slave alone', async () => {
    const { keys } = await a.get('sae-b/enc_keys?number=2');
    const [first, second] = keys as [(typeof keys)[0], (typeof keys)[0]];
    const path = `sae-a/dec_keys?key_ID=${first.id}`;
    const stranger = await b2.get(path);
    assert.deepEqual([stranger.code, typeof stranger.body.message], [401, 'string']);
    const asOther = await b.get(`sae-a2/dec_keys?key_ID=${first.id}`);
    assert.equal(asOther.code, 400, 'a key of another master');
    assert.deepEqual((await b.get(path)).keys, [first]);

    const again = await b.get(path);
    const notFound = 'one or more keys specified are not found on KME';
    assert.deepEqual([again.code, again.body.message], [400, notFound]);
    assert.deepEqual(again.body.details, [{ key_ID: first.id }]);
    // One that is missing costs the others nothing.
    const both = await b.post('sae-a/dec_keys', idsOf([second, first]));
    assert.deepEqual([both.code, both.body.details], [400, [{ key_ID: first.id }]]);
    const upper = second.id.toUpperCase();
    assert.deepEqual((await b.get(`sae-a/dec_keys?key_ID=${upper}`)).keys, [second]);
  });

  it('knows no key that nobody was given, nor one by a key_ID that is near', async () => {
    const { keys } = await a.get('sae-b/enc_keys');
    const id = keys[0]?.id as string;
    const near = `${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`;
    for (const unknown of [randomUUID(), near]) {
      const { code } = await b.get(`sae-a/dec_keys?key_ID=${unknown}`);
      assert.equal(code, 400);
    }
    assert.equal((await b.get(`sae-a/dec_keys?key_ID=${id}`)).code, 200);
  });

  it('gives the same key to several slaves of one node, to each once', async () => {
    const asked = { number: 3, additional_slave_SAE_IDs: ['sae/b 2@x', 'sae-b3'] };
    const { code, keys } = await a.post('sae-b/enc_keys', asked);
    assert.equal(code, 200);
    for (const slave of [b2, b, b3]) {
      assert.deepEqual((await slave.post('sae-a/dec_keys', idsOf(keys))).keys, keys);
      assert.equal((await slave.post('sae-a/dec_keys', idsOf(keys))).code, 400);
    }
    const elsewhere = await a.post('sae-b/enc_keys', { additional_slave_SAE_IDs: ['sae-a2'] });
    assert.equal(elsewhere.code, 400);
    const alone = await a.get('sae-b/enc_keys');
    assert.equal((await b2.post('sae-a/dec_keys', idsOf(alone.keys))).code, 401);
  });

  it('refuses what the standard refuses, in its words', async () => {
    for (const [body, message] of [
      [{ size: 255 }, 'size shall be a multiple of 8'],
      [{ size: 56 }, 'size shall be 64 to 4096 bits'],
      [{ size: 4_104 }, 'size shall be 64 to 4096 bits'],
      [{ number: 33 }, 'number shall be 1 to 32'],
      [{ number: 0 }, 'number shall be 1 to 32'],
      [{ number: 1.5 }, 'number shall be an integer'],
      [{ number: 'many' }, 'number shall be an integer'],
      [{ extension_mandatory: [{ x_route: 1 }] }, 'not all extension_mandatory parameters are supported'],
      [{ extension_mandatory: {} }, 'extension_mandatory shall be an array of objects'],
      [{ additional_slave_SAE_IDs: 'sae-b3' }, 'additional_slave_SAE_IDs shall be an array of texts'],
      [{ additional_slave_SAE_IDs: ['nobody'] }, '"nobody" is no SAE that this KME knows'],
      [[], 'the key request shall be a JSON object'],
    ] as const) {
      const answer = await a.post('sae-b/enc_keys', body);
      assert.deepEqual([answer.code, answer.body.message], [400, message], JSON.stringify(body));
    }
    for (const [body, message] of [
      [{}, /key_IDs shall be an array/],
      [{ key_IDs: [] }, /key_IDs shall be an array/],
      [{ key_IDs: [{ key_ID: 'x' }] }, /key_IDs\[0\]\.key_ID is no UUID/],
      [{ key_IDs: [1] }, /key_IDs\[0\] shall be a JSON object/],
      [{ key_IDs: Array.from({ length: 33 }, () => ({ key_ID: randomUUID() })) }, /32 members at most/],
    ] as const) {
      const answer = await b.post('sae-a/dec_keys', body);
      assert.equal(answer.code, 400);
      assert.match(String(answer.body.message), message);
    }
    assert.equal((await a.get('nobody/enc_keys')).code, 400);
    assert.equal((await a.get('sae-a2/enc_keys')).code, 400);
    assert.equal((await a.get('nobody/status')).code, 400);
  });

  it('is lenient: what is optional is passed over, and numbers may be texts', async () => {
    const body = { number: '2', size: '128', extension_optional: [{ x_any: 1 }], unknown: true };
    const { code, keys } = await a.post('sae-b/enc_keys', body);
    assert.deepEqual([code, keys.length, keys[0]?.key.length], [200, 2, 16]);
    const named = {
      key_IDs: keys.map(({ id }) => ({ key_ID: id, key_ID_extension: {} })),
      key_IDs_extension: {},
    };
    assert.equal((await b.post('sae-a/dec_keys', named)).code, 200);
    assert.equal((await a.send('POST', 'sae-b/enc_keys', '{}', 'text/plain')).code, 200);
    assert.equal((await a.send('POST', 'sae-b/enc_keys', '')).code, 200);
  });

  it('answers what cannot be read, and serves on', async () => {
    const secretLooking = '{"number": 1, "key": "c2VjcmV0"';
    const malformed = await a.send('POST', 'sae-b/enc_keys', secretLooking);
    assert.deepEqual([malformed.code, malformed.body], [400, { message: 'the body is not JSON' }]);
    const large = await a.send('POST', 'sae-b/enc_keys', `{"x":"${'x'.repeat(20_000)}"}`);
    assert.deepEqual([large.code, large.body.message], [400, 'the body has more than 16384 bytes']);
    assert.equal((await a.get('sae-b/keys')).code, 404);
    assert.equal((await a.send('DELETE', 'sae-b/enc_keys')).code, 405);
    assert.equal((await a.get('%ff/enc_keys')).code, 400);
    assert.equal((await a.get('sae-b/enc_keys')).code, 200);
  });

  it('lets in SAEs of its own node alone', async () => {
    const [ofBob, nobody] = await Promise.all([sae('sae-b', alice), sae('nobody', alice)]);
    for (const client of [ofBob, nobody]) {
      const { code, body } = await client.get('sae-b/enc_keys');
      assert.deepEqual([code, typeof body.message], [401, 'string']);
    }
    const { ca } = await pemOf('x');
    const without = new RestClient(alice.rest as Address, { ca });
    await assert.rejects(without.get('sae-b/status'));
  });

  it('takes a request that comes byte by byte, and many on one connection at once', async () => {
    const socket = await rawConnection(alice.rest as Address, await pemOf('sae-a'));
    let text = '';
    socket.on('data', (data) => {
      text += data;
    });
    const request = 'GET /api/v1/keys/sae-b/status HTTP/1.1\r\nhost: x\r\n\r\n';
    for (const char of request) socket.write(char);
    socket.write(request.repeat(9));
    while ((text.match(/HTTP\/1\.1 200/g) ?? []).length < 10) await once(socket, 'data');
    socket.destroy();
  });

  it('tells no key in any log', async () => {
    const { keys } = await a.get('sae-b/enc_keys?number=5');
    await b.post('sae-a/dec_keys', idsOf(keys));
    await b.post('sae-a/dec_keys', idsOf(keys));
    for (const { folder } of network.nodes) {
      const log = readFileSync(join(folder, 'hybrid.log'), 'utf8');
      assert.ok(log.length > 0);
      for (const { key } of keys) {
        for (const form of ['base64', 'base64url', 'hex'] as const)
          assert.ok(!log.includes(key.toString(form)));
      }
    }
  });

  it('describes itself', async () => {
    const { code, body } = await a.get('/api/v1/openapi.json');
    assert.equal(code, 200);
    assert.deepEqual(Object.keys(body.paths as object).sort(), [
      '/api/v1/keys/{master_SAE_ID}/dec_keys',
      '/api/v1/keys/{slave_SAE_ID}/enc_keys',
      '/api/v1/keys/{slave_SAE_ID}/status',
    ]);
  });
});
