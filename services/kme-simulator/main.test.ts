import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { JsonClient } from '#common/etsi/json-client.ts';
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
