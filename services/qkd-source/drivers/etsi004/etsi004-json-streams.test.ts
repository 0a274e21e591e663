import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import { qkdStreamName } from '#test/contract/qkd-driver-contract.ts';
import { createEtsi004JsonDriver } from './etsi004-json.ts';

const never = new AbortController().signal;
const unavailable = (error: unknown) => isReason(error, 'QKD_UNAVAILABLE');
const turn = () => new Promise((resolve) => setImmediate(resolve));

interface Request {
  readonly command: 'OPEN_CONNECT' | 'GET_KEY' | 'CLOSE';
  readonly data: {
    readonly source: string;
    readonly key_stream_id?: string;
    readonly index: number;
    readonly qos: { readonly key_chunk_size: number };
  };
}

/** What the key manager answers; undefined: nothing. */
type Answer = (request: Request) => object | undefined;

const sizes = new Map<string, number>();

/** Opens whatever is asked for under the name of its size, and gives keys of that size. */
const sound: Answer = ({ command, data }) => {
  if (command === 'CLOSE') return { status: 0 };
  if (command === 'OPEN_CONNECT') {
    const handle = `kme-${data.qos.key_chunk_size}`;
    sizes.set(handle, data.qos.key_chunk_size);
    return { status: 0, key_stream_id: handle };
  }
  const size = sizes.get(data.key_stream_id ?? '');
  if (size === undefined) return { status: 3 };
  return { status: 0, key_buffer: new Array(size).fill(data.index % 256) };
};

/** A driver at a key manager that answers as the test says. */
async function driverAt(t: TestContext, answer: Answer = sound, change: object = {}) {
  const seen: Request[] = [];
  /** GET_KEYs that arrived in one piece. */
  const bursts: number[] = [];
  const state = { answer };
  const sockets = new Set<Socket>();
  const made = { connections: 0 };
  const server = createServer((socket) => {
    sockets.add(socket);
    made.connections += 1;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (data) => {
      const texts = data.toString().split(/(?<=\}\})(?=\{)/);
      const requests = texts.map((text) => JSON.parse(text) as Request);
      if (requests[0]?.command === 'GET_KEY') bursts.push(requests.length);
      for (const request of requests) {
        seen.push(request);
        const given = state.answer(request);
        if (given) socket.write(JSON.stringify(given));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const settings = nodeConfigSchema.shape.qkd.parse({ timeout: '20s', connection: 'reuse', ...change });
  const driver = createEtsi004JsonDriver({ host: '127.0.0.1', port }, settings);
  t.after(() => {
    driver.stop();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const sent = (command: Request['command']) => seen.filter((request) => request.command === command);
  return { driver, seen, bursts, state, sockets, made, sent };
}

describe('ETSI 004 JSON driver: streams', () => {
  it('joins a stream by its id as the configuration says', async (t) => {
    const cases = [
      { join: 'auto', named: '', ids: [undefined] },
      { join: 'auto', named: 'theirs', ids: ['theirs', undefined] },
      { join: 'ksid', named: 'theirs', ids: ['theirs'] },
      { join: 'uris', named: 'theirs', ids: [undefined] },
    ] as const;
    for (const { join, named, ids } of cases) {
      const knowsNone: Answer = (request) =>
        request.data.key_stream_id === undefined ? sound(request) : { status: 5 };
      const { driver, sent } = await driverAt(t, knowsNone, { join });
      const opening = driver.open(qkdStreamName(), 32, named, never);
      if (ids.at(-1) === undefined) assert.equal(await opening, 'kme-32');
      else await assert.rejects(opening, (error) => unavailable(error) && /status 5/.test(String(error)));
      assert.deepEqual(
        sent('OPEN_CONNECT').map(({ data }) => data.key_stream_id),
        ids,
        `${join}, ${named}`,
      );
    }
    const { driver, sent } = await driverAt(t);
    await driver.open(qkdStreamName(), 32, 'theirs', never);
    assert.equal(sent('OPEN_CONNECT').length, 1, 'once is enough where it is known');
    const refusing = await driverAt(t, () => ({ status: 5 }));
    await assert.rejects(refusing.driver.open(qkdStreamName(), 32, '', never), unavailable);
    assert.equal(refusing.sent('OPEN_CONNECT').length, 1, 'there is no other way to ask');
  });

  it('names the first epoch of a stream by the stream alone', async (t) => {
    const { driver, sent } = await driverAt(t);
    const stream = qkdStreamName();
    await driver.open(stream, 32, '', never);
    await driver.open({ ...stream, epoch: 1 }, 32, '', never);
    assert.deepEqual(
      sent('OPEN_CONNECT').map(({ data }) => data.source),
      ['', '-1'].map((end) => `qkd://keyweave-${stream.keyStreamId}${end}@${stream.sourceNode}`),
    );
  });

  it('closes a stream that was opened for keys of another size', async (t) => {
    const { driver, sent } = await driverAt(t, (request) =>
      request.command === 'OPEN_CONNECT'
        ? { status: 0, key_stream_id: 'k', qos: { key_chunk_size: 16 } }
        : sound(request),
    );
    await assert.rejects(
      driver.open(qkdStreamName(), 32, '', never),
      (error) => unavailable(error) && /32 bytes/.test(String(error)),
    );
    assert.deepEqual(
      sent('CLOSE').map(({ data }) => data.key_stream_id),
      ['k'],
    );
  });

  it('closes a stream whose name is longer than any that can be passed on', async (t) => {
    let length = 256;
    const { driver, sent } = await driverAt(t, (request) =>
      request.command === 'OPEN_CONNECT' ? { status: 0, key_stream_id: 'k'.repeat(length) } : sound(request),
    );
    assert.equal((await driver.open(qkdStreamName(), 32, '', never)).length, 256);
    assert.equal(sent('CLOSE').length, 0);
    length = 257;
    await assert.rejects(
      driver.open(qkdStreamName(), 32, '', never),
      (error) => unavailable(error) && /256 characters/.test(String(error)),
    );
    assert.equal(sent('CLOSE')[0]?.data.key_stream_id?.length, 257);
  });

  it('says in its error what the key manager did, with the cause', async (t) => {
    const { driver, state } = await driverAt(t, () => ({ answer: 'none' }));
    const failed = async () => {
      const error = await driver.open(qkdStreamName(), 32, '', never).catch((thrown: unknown) => thrown);
      assert.ok(unavailable(error));
      return error as KeyweaveError;
    };
    const noAnswer = await failed();
    assert.match(noAnswer.detail, /not a JSON object with a status/);
    assert.ok(noAnswer.cause);
    state.answer = () => ({ status: 9 });
    assert.match((await failed()).detail, /OPEN_CONNECT with status 9/);
  });

  it('waits as long as the configuration says for an answer, and drops the connection then', async (t) => {
    const { driver, sockets } = await driverAt(t, () => undefined, { timeout: '60ms' });
    await assert.rejects(driver.open(qkdStreamName(), 32, '', never), unavailable);
    await assert.rejects(driver.fetch('kme-32', 0n, 1, 32, never), (error) =>
      isReason(error, 'QKD_OUT_OF_STEP'),
    );
    while (sockets.size > 0) await turn();
  });

  it('keeps a connection that has answered, whatever the signal of that call does later', async (t) => {
    const { driver, made } = await driverAt(t);
    const call = new AbortController();
    await driver.open(qkdStreamName(), 32, '', call.signal);
    call.abort();
    await turn();
    assert.equal((await driver.fetch('kme-32', 0n, 3, 32, never)).length, 96);
    assert.equal(made.connections, 1);
  });

  it('has few CLOSEs under way, so that they take no connection from keys', async (t) => {
    const { driver, sent } = await driverAt(t, (request) =>
      request.command === 'CLOSE' ? undefined : sound(request),
    );
    const gone = new AbortController();
    const closing = Array.from({ length: 80 }, (_, i) => driver.close(`k-${i}`, gone.signal));
    await driver.open(qkdStreamName(), 32, '', never);
    assert.equal((await driver.fetch('kme-32', 0n, 3, 32, never)).length, 96);
    while (sent('CLOSE').length < 8) await turn();
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(sent('CLOSE').length, 8);
    gone.abort();
    await Promise.all(closing);
  });

  it('sends no CLOSE for a stream without a name', async (t) => {
    const { driver, seen } = await driverAt(t);
    await driver.close('', never);
    await driver.close('k', never);
    assert.deepEqual(
      seen.map(({ data }) => data.key_stream_id),
      ['k'],
    );
  });
});

describe('ETSI 004 JSON driver: keys', () => {
  it('asks for the keys in their order, over one connection, and gives them so', async (t) => {
    const { driver, sent, sockets } = await driverAt(t);
    await driver.open(qkdStreamName(), 32, '', never);
    const keys = await driver.fetch('kme-32', 7n, 5, 32, never);
    assert.deepEqual(
      sent('GET_KEY').map(({ data }) => data.index),
      [7, 8, 9, 10, 11],
    );
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((i) => keys[32 * i + 31]),
      [7, 8, 9, 10, 11],
    );
    assert.equal(sockets.size, 1);
  });

  it('asks for no more once the key manager is dry, and gives what there was', async (t) => {
    let left = 2;
    const { driver, sent, made } = await driverAt(t, (request) =>
      request.command === 'GET_KEY' && left-- <= 0 ? { status: 2 } : sound(request),
    );
    await driver.open(qkdStreamName(), 32, '', never);
    assert.equal((await driver.fetch('kme-32', 0n, 9, 32, never)).length, 64);
    assert.equal(sent('GET_KEY').length, 3);
    left = 9;
    for (const first of [2n, 5n])
      assert.equal((await driver.fetch('kme-32', first, 3, 32, never)).length, 96);
    assert.equal(made.connections, 1, 'it is given back, dry or not');
  });

  it('leaves no connection open where each has one call, nor after its end', async (t) => {
    const { driver, sockets, made } = await driverAt(t, sound, { connection: 'per-call' });
    await driver.open(qkdStreamName(), 32, '', never);
    assert.equal((await driver.fetch('kme-32', 0n, 3, 32, never)).length, 96);
    assert.equal(made.connections, 4);
    while (sockets.size > 0) await turn();
    const reusing = await driverAt(t);
    await reusing.driver.open(qkdStreamName(), 32, '', never);
    reusing.driver.stop();
    while (reusing.sockets.size > 0) await turn();
    await assert.rejects(reusing.driver.open(qkdStreamName(), 32, '', never), unavailable);
  });

  it('sends several together once that is learnt, twice as many each time, and one again after a dry answer', async (t) => {
    const { driver, bursts, state } = await driverAt(t);
    await driver.learn();
    await driver.open(qkdStreamName(), 32, '', never);
    bursts.length = 0;
    assert.equal((await driver.fetch('kme-32', 0n, 40, 32, never)).length, 40 * 32);
    assert.deepEqual(bursts, [1, 2, 4, 8, 16, 9]);
    state.answer = ({ command }) => (command === 'GET_KEY' ? { status: 2 } : undefined);
    bursts.length = 0;
    for (let i = 0; i < 2; i++) await driver.fetch('kme-32', 40n, 40, 32, never);
    assert.deepEqual(bursts, [32, 1]);
  });

  it('has no blocks any more once one is refused, misses its size, or is opened for another', async (t) => {
    const faults: [string, number, Answer][] = [
      ['refused', 0, ({ command }) => (command === 'OPEN_CONNECT' ? { status: 7 } : undefined)],
      [
        'refused for another reason',
        512,
        ({ command }) => (command === 'OPEN_CONNECT' ? { status: 5 } : undefined),
      ],
      [
        'of another size',
        0,
        ({ command }) =>
          command === 'OPEN_CONNECT'
            ? { status: 0, key_stream_id: 'k', qos: { key_chunk_size: 32 } }
            : undefined,
      ],
      [
        'a key of another size',
        0,
        ({ command }) => (command === 'GET_KEY' ? { status: 0, key_buffer: [1] } : undefined),
      ],
      ['no key', 512, ({ command }) => (command === 'GET_KEY' ? { status: 6 } : undefined)],
    ];
    for (const [what, blockBytes, fault] of faults) {
      const { driver, state } = await driverAt(t);
      await driver.learn(qkdStreamName());
      assert.equal(driver.blockBytes, 512);
      state.answer = (request) => fault(request) ?? sound(request);
      const use = async () => {
        const handle = await driver.open(qkdStreamName(), 512, '', never);
        await driver.fetch(handle, 0n, 1, 512, never);
      };
      await assert.rejects(use(), what);
      assert.equal(driver.blockBytes, blockBytes, what);
    }
  });

  it('gets one request at a time again after a burst that was lost', async (t) => {
    const { driver, bursts, state, sockets } = await driverAt(t);
    await driver.learn();
    await driver.open(qkdStreamName(), 32, '', never);
    await driver.fetch('kme-32', 0n, 7, 32, never);
    bursts.length = 0;
    state.answer = () => {
      for (const socket of sockets) socket.destroy();
      return undefined;
    };
    const outOfStep = (error: unknown) => isReason(error, 'QKD_OUT_OF_STEP');
    await assert.rejects(driver.fetch('kme-32', 7n, 40, 32, never), outOfStep);
    await assert.rejects(driver.fetch('kme-32', 7n, 40, 32, never), outOfStep);
    assert.ok((bursts[0] ?? 0) > 1, 'they went together');
    assert.equal(bursts[1], 1);
  });
});
