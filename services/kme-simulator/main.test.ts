import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { JsonClient } from '#common/etsi/json-client.ts';
import { BinaryClient } from '#test/helpers/binary-client.ts';
import { type KmeSimulatorOptions, type KmeSimulatorState, startKmeSimulator } from './main.ts';

const anyPort = { host: '127.0.0.1', port: 0 };
const URIS = { source: 'qkd://Application1@a', destination: 'qkd://Application4@b' };

async function simulator(t: TestContext, options: Partial<KmeSimulatorOptions> = {}) {
  const warnings: string[] = [];
  const kme = await startKmeSimulator({
    ends: [anyPort, anyPort, anyPort],
    control: anyPort,
    warn: (text) => warnings.push(text),
    ...options,
  });
  t.after(() => kme.stop());
  const client = async (end: number) => {
    const socket = connect(kme.addresses[end] as Address);
    await once(socket, 'connect');
    const connection = new JsonClient(socket);
    const call = async (command: string, data: unknown) =>
      (await connection.request(Buffer.from(JSON.stringify({ command, data })))) as Record<string, unknown>;
    return { socket, connection, call };
  };
  const control = async (path: string, body?: unknown) => {
    const { host, port } = kme.control as Address;
    const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(`http://${host}:${port}${path}`, init);
    return { code: response.status, body: (await response.json()) as KmeSimulatorState };
  };
  return { kme, warnings, client, control };
}

describe('KME simulator', () => {
  it('says that its keys are not secret', async (t) => {
    const { warnings } = await simulator(t);
    assert.match(warnings.join(), /NOT SECRET/);
  });

  it('pairs any two of its ends', async (t) => {
    const { client, kme } = await simulator(t);
    const [a, c] = [await client(0), await client(2)];
    const data = { ...URIS, qos: { key_chunk_size: 16 } };
    const [atA, atC] = [await a.call('OPEN_CONNECT', data), await c.call('OPEN_CONNECT', data)];
    assert.deepEqual([atA.status, atC.key_stream_id], [0, atA.key_stream_id]);
    const get = { key_stream_id: atA.key_stream_id, index: 0 };
    const keys = [await a.call('GET_KEY', get), await c.call('GET_KEY', get)];
    assert.deepEqual(keys[0], keys[1]);
    assert.equal(Array.isArray(keys[0]?.key_buffer) && keys[0].key_buffer.length, 16);
    assert.deepEqual(await a.call('CLOSE', get), { status: 0 });
    assert.deepEqual(await a.call('CLOSE', get), { status: 3 });
    const state = kme.state();
    assert.deepEqual([state.keysMade, state.ends.map((end) => end.delivered)], [1, [1, 0, 1]]);
  });

  it('answers whatever it is sent', async (t) => {
    const { client } = await simulator(t);
    const { connection, call } = await client(0);
    const raw = (text: string) => connection.request(Buffer.from(text));
    const invalid = { status: 'error', message: 'Invalid JSON received' };
    for (const text of ['hello\n', '{oops}', '{"a":}']) assert.deepEqual(await raw(text), invalid);
    for (const text of ['[]', '{}', '{"command":7}']) {
      assert.deepEqual(await raw(text), { status: 'error', message: 'Unknown command' });
    }
    for (const data of [undefined, 7, {}, { source: 1 }]) {
      assert.deepEqual(await call('OPEN_CONNECT', data), { status: 4 });
    }
    for (const key_chunk_size of [0, 1.5, 65_537, 'x']) {
      assert.deepEqual(await call('OPEN_CONNECT', { ...URIS, qos: { key_chunk_size } }), { status: 7 });
    }
    assert.deepEqual(await call('GET_KEY', null), { status: 3 });
  });

  it('takes back an OPEN_CONNECT whose caller has gone before the other end came', async (t) => {
    const { client, kme } = await simulator(t, { blocking: true });
    const [a, b] = [await client(0), await client(1)];
    a.call('OPEN_CONNECT', URIS).catch(() => undefined);
    while (kme.state().streams !== 1) await new Promise(setImmediate);
    a.connection.destroy();
    while (kme.state().streams !== 0) await new Promise(setImmediate);
    const late = b.call('OPEN_CONNECT', { ...URIS, qos: { timeout: 100 } });
    assert.deepEqual(await late, { status: 6 });
    assert.equal(kme.state().streams, 0);
  });

  it('shows its state and makes faults by its control port, as often as asked', async (t) => {
    const { client, control } = await simulator(t);
    const set = await control('/fault', { end: 1, kind: 'dry', times: 2 });
    assert.equal(set.code, 200);
    const { call } = await client(1);
    const { key_stream_id } = await call('OPEN_CONNECT', URIS);
    const statuses: unknown[] = [];
    for (let i = 0; i < 3; i++) statuses.push((await call('GET_KEY', { key_stream_id })).status);
    assert.deepEqual(statuses, [2, 2, 0]);
    const { body } = await control('/state');
    assert.deepEqual([body.streams, body.keysMade], [1, 1]);
    assert.deepEqual(body.ends[1], { delivered: 1, deliveredBytes: 32, connections: 1, fault: null });
    await control('/fault', { end: 1, kind: 'wrong-key' });
    assert.equal((await control('/state')).body.ends[1]?.fault, 'wrong-key');
    await control('/fault', { end: 1, kind: null });
    assert.equal((await control('/state')).body.ends[1]?.fault, null);
  });

  it('gives the last key again, or zeros, when told to', async (t) => {
    const { client, kme } = await simulator(t);
    const { call } = await client(0);
    const { key_stream_id } = await call('OPEN_CONNECT', URIS);
    const next = async () => (await call('GET_KEY', { key_stream_id })).key_buffer;
    kme.setFault(0, 'repeat');
    const first = await next();
    assert.deepEqual(await next(), first);
    const other = await call('OPEN_CONNECT', { source: 'qkd://x@a', destination: 'qkd://x@b' });
    assert.deepEqual((await call('GET_KEY', other)).key_buffer, first);
    kme.setFault(0, 'zero', 1);
    assert.deepEqual(await next(), new Array(32).fill(0));
    assert.notDeepEqual(await next(), first);
  });

  it('loses what comes together when it reads once', async (t) => {
    const { client, kme } = await simulator(t, { habit: 'read-once' });
    const { socket } = await client(0);
    const got: Buffer[] = [];
    socket.removeAllListeners('data').on('data', (data: Buffer) => got.push(data));
    socket.write('{"command":"x"}{"command":"y"}');
    while (got.length === 0) await new Promise(setImmediate);
    socket.write('{"command":"z"}');
    while (Buffer.concat(got).toString().split('Unknown').length < 3) await new Promise(setImmediate);
    assert.equal(Buffer.concat(got).toString().split('Unknown').length, 3, 'two answers to three requests');
    kme.setFault(0, 'close-after-answer');
    socket.write('{}');
    await once(socket, 'close');
  });

  it('answers byte by byte', async (t) => {
    const { client } = await simulator(t, { habit: 'byte-by-byte' });
    const { socket } = await client(0);
    const sizes: number[] = [];
    socket.removeAllListeners('data').on('data', (data: Buffer) => sizes.push(data.length));
    socket.write('{}');
    const answer = JSON.stringify({ status: 'error', message: 'Unknown command' });
    while (sizes.reduce((sum, size) => sum + size, 0) < answer.length) await new Promise(setImmediate);
    assert.ok(sizes.length > answer.length / 4, `${sizes.length} segments`);
  });

  it('resets connections when it refuses', async (t) => {
    const { client, kme } = await simulator(t);
    kme.setFault(0, 'refuse', 1);
    const refused = connect(kme.addresses[0] as Address);
    refused.on('error', () => undefined);
    await new Promise((closed) => refused.once('close', closed));
    const { call } = await client(0);
    assert.equal((await call('OPEN_CONNECT', URIS)).status, 0);
  });

  it('refuses senseless control requests', async (t) => {
    const { control } = await simulator(t);
    const bad = [
      {},
      { end: 9, kind: 'dry' },
      { end: 0, kind: 'fire' },
      { end: 0, kind: 'dry', times: 0 },
      'x',
    ];
    for (const body of [...bad, 'x'.repeat(100_000)]) assert.equal((await control('/fault', body)).code, 400);
    assert.equal((await control('/nothing')).code, 404);
  });

  it('leaves nothing behind when an address is taken', async (t) => {
    const { kme } = await simulator(t);
    const taken = kme.addresses[0] as Address;
    const warn = () => undefined;
    await assert.rejects(startKmeSimulator({ ends: [anyPort, taken], warn }), (error) =>
      isReason(error, 'BAD_CONFIG'),
    );
    await assert.rejects(startKmeSimulator({ ends: [anyPort], warn }), (error) =>
      isReason(error, 'BAD_CONFIG'),
    );
  });
});

describe('KME simulator in the binary protocol', () => {
  async function ends(t: TestContext) {
    const { kme } = await simulator(t, { dialect: 'etsi004-binary' });
    const clients = await Promise.all(
      kme.addresses.slice(0, 2).map((address) => BinaryClient.connect(address)),
    );
    t.after(() => {
      for (const client of clients) client.disconnect();
    });
    const [a, b] = clients as [BinaryClient, BinaryClient];
    return { kme, a, b };
  }

  it('gives both ends the keys of the index, each once, also where some are passed over', async (t) => {
    const { kme, a, b } = await ends(t);
    const { status, ksid } = await a.open(URIS);
    assert.deepEqual([status, (await b.open({ ...URIS, ksid })).ksid], [0, ksid]);
    const id = ksid as string;
    const [first, third] = [await a.getKey(id, 0), await a.getKey(id, 2)];
    assert.equal(first.key?.length, 512);
    assert.deepEqual((await b.getKey(id, 0)).key, first.key);
    assert.equal((await b.getKey(id, 1)).status, 0, 'what the other end has passed over is there');
    assert.deepEqual((await b.getKey(id, 2)).key, third.key);
    for (const index of [0, 1, 2]) assert.equal((await a.getKey(id, index)).status, 2, 'it is gone');
    assert.deepEqual([(await a.getKey(id)).index, kme.state().heldBytes], [0xffff_ffff, 512]);
    assert.deepEqual([await a.close(id), await a.close(id), await b.close(id)], [0, 3, 0]);
    assert.equal(kme.state().heldBytes, 0);
  });

  it('forgets the keys that the end they wait for has passed over', async (t) => {
    const { kme, a, b } = await ends(t);
    const { ksid = '' } = await a.open(URIS);
    await b.open({ ...URIS, ksid });
    for (const index of [0, 1, 2, 3]) await a.getKey(ksid, index);
    assert.equal(kme.state().heldBytes, 4 * 512);
    assert.equal((await b.getKey(ksid, 3)).status, 0);
    assert.equal(kme.state().heldBytes, 0);
  });

  it('refuses URIs that are none, and says nothing to what it cannot read', async (t) => {
    const { a, b } = await ends(t);
    assert.equal((await a.open({ source: 'client', destination: 'server://b' })).status, 4);
    a.send(Buffer.from('0100010600000000', 'hex'));
    assert.equal(await a.close('11111111-1111-4111-8111-111111111111'), 3);
    b.send(Buffer.from('010001040000000100', 'hex'));
    assert.equal(await b.message(), undefined);
  });
});

describe('KME simulator that speaks ETSI 014', () => {
  const saeIds = ['alice', 'bob', 'charlie/1'];

  async function asker(t: TestContext, options: Partial<KmeSimulatorOptions> = {}) {
    const { kme } = await simulator(t, { dialect: 'etsi014', saeIds, ...options });
    const ask = async (end: number, path: string, body?: unknown) => {
      const { host, port } = kme.addresses[end] as Address;
      const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
      const response = await fetch(`http://${host}:${port}/api/v1/keys/${path}`, init);
      return { code: response.status, body: (await response.json()) as Record<string, unknown> };
    };
    return { kme, ask };
  }

  const keysIn = ({ body }: { body: Record<string, unknown> }) =>
    body.keys as { key_ID: string; key: string }[];

  it('gives keys to one end, and those of their ids to the other, once', async (t) => {
    const { kme, ask } = await asker(t);
    const given = keysIn(await ask(0, 'bob/enc_keys', { number: 3, size: 512 }));
    assert.equal(Buffer.from(given[0]?.key ?? '', 'base64').length, 64);
    const key_IDs = given.map(({ key_ID }) => ({ key_ID }));
    assert.equal((await ask(2, 'alice/dec_keys', { key_IDs })).code, 400, "they are bob's");
    assert.deepEqual(keysIn(await ask(1, 'alice/dec_keys', { key_IDs })), given);
    const again = await ask(1, 'alice/dec_keys', { key_IDs });
    assert.deepEqual(again, {
      code: 400,
      body: { message: 'one or more keys specified are not found on KME' },
    });
    assert.equal(kme.state().heldBytes, 0);
  });

  it('answers GET with a query', async (t) => {
    const { ask } = await asker(t);
    const [given] = keysIn(await ask(0, `${encodeURIComponent('charlie/1')}/enc_keys?number=1&size=256`));
    assert.deepEqual(keysIn(await ask(2, `alice/dec_keys?key_ID=${given?.key_ID}`)), [given]);
    assert.equal(keysIn(await ask(0, 'bob/enc_keys')).length, 1);
  });

  it('refuses as the standard says', async (t) => {
    const { ask } = await asker(t);
    assert.equal((await ask(0, 'bob/status')).body.slave_SAE_ID, 'bob');
    for (const [path, body, code, message] of [
      ['bob/enc_keys', { size: 12 }, 400, 'size shall be a multiple of 8'],
      ['bob/enc_keys', { number: 129 }, 400, 'number or size is out of range'],
      ['bob/enc_keys', { number: 'x' }, 400, 'the key request cannot be met'],
      ['bob/dec_keys', { key_IDs: [{ key_ID: 'x' }] }, 400, 'the key IDs cannot be read'],
      ['alice/enc_keys', {}, 404, 'the SAE is not known'],
      ['bob/keys', {}, 404, 'there is no such resource'],
      ['bob/enc_keys/x', {}, 404, 'there is no such resource'],
    ] as const) {
      assert.deepEqual(await ask(0, path, body), { code, body: { message } }, path);
    }
  });

  it('gives what there is, and is dry then', async (t) => {
    const { ask } = await asker(t, { rateBps: 1, bufferBytes: 70 });
    assert.equal(keysIn(await ask(0, 'bob/enc_keys', { number: 3 })).length, 2);
    assert.equal((await ask(0, 'bob/enc_keys', { number: 3 })).code, 503);
  });

  it('forgets the oldest keys that nobody fetches', async (t) => {
    const { kme, ask } = await asker(t, { maxHeldBytes: 64 });
    const [first, , third] = keysIn(await ask(0, 'bob/enc_keys', { number: 3 }));
    assert.equal(kme.state().heldBytes, 64);
    assert.equal((await ask(1, 'alice/dec_keys', { key_IDs: [{ key_ID: first?.key_ID }] })).code, 400);
    assert.equal((await ask(1, 'alice/dec_keys', { key_IDs: [{ key_ID: third?.key_ID }] })).code, 200);
  });

  it('needs a SAE id for each end', async () => {
    for (const ids of [undefined, ['one']]) {
      const options = { ends: [anyPort, anyPort], dialect: 'etsi014', warn: () => undefined } as const;
      await assert.rejects(startKmeSimulator({ ...options, ...(ids && { saeIds: ids }) }), (error) =>
        isReason(error, 'BAD_CONFIG'),
      );
    }
  });
});
