import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { inspect } from 'node:util';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { qkdStreamName } from '#test/contract/qkd-driver-contract.ts';
import { createEtsi004JsonDriver } from './etsi004-json.ts';

const never = new AbortController().signal;
const OPENED = '{"status":0,"key_stream_id":"kme-1"}';
const KEY = Buffer.from('c0ffee'.repeat(8), 'hex');
const UNKNOWN = '{"status":3}';
const keyAnswer = (key_buffer: unknown = [...KEY]) => JSON.stringify({ status: 0, key_buffer });

interface Seen {
  socket: Socket;
  /** What arrived in one segment. */
  text: string;
  /** Ordinal of the segment on its connection. */
  nth: number;
}

/** A key manager that does with each segment whatever the test says. */
async function oddServer(t: TestContext, onSegment: (seen: Seen) => void, change: object = {}) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let nth = 0;
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => onSegment({ socket, text: data.toString(), nth: nth++ }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const settings = nodeConfigSchema.shape.qkd.parse({ timeout: '20s', ...change });
  let nowMs = 0;
  // Every pause is over.
  const now = () => {
    nowMs += 3_600_000;
    return nowMs;
  };
  const driver = createEtsi004JsonDriver({ host: '127.0.0.1', port }, settings, { now });
  t.after(() => {
    driver.stop();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { driver, sockets };
}

/** The requests of a segment that holds whole ones. */
const requestsIn = (text: string) => text.split(/(?<=\}\})(?=\{)/).map((one) => JSON.parse(one) as Request);
interface Request {
  command: string;
  data: { key_stream_id?: string };
}
const commandOf = (text: string) => JSON.parse(text).command as string;
const reason = (wanted: 'QKD_UNAVAILABLE' | 'QKD_OUT_OF_STEP') => (error: unknown) => isReason(error, wanted);

describe('ETSI 004 JSON driver and odd key managers', () => {
  const badAnswers: [string, string][] = [
    ['a key too short', keyAnswer([...KEY.subarray(1)])],
    ['a key of other values', keyAnswer([...KEY.subarray(1), 256])],
    ['a key in an unknown form', keyAnswer(`${KEY.toString('hex')}00`)],
    ['no key', '{"status":0}'],
    ['no object', `[${[...KEY]}]`],
    ['malformed JSON', `{"status":0,"key_buffer":"${KEY.toString('hex')}" oops}`],
    ['garbage', `${KEY.toString('hex')}\n`],
    ['two answers', keyAnswer('00') + keyAnswer()],
    ['an endless answer', `{"status":0,"key_buffer":"${KEY.toString('hex').repeat(20_000)}`],
  ];
  for (const [what, text] of badAnswers) {
    it(`counts ${what} as a lost key and repeats nothing of it`, async (t) => {
      const { driver } = await oddServer(t, ({ socket }) => socket.write(text));
      await assert.rejects(driver.fetch('kme-1', 0n, 1, 24, never), (error) => {
        const shown = inspect(error, { depth: 9 });
        assert.ok(!/c0ffee|192, *255|Y9yaw|wP\//.test(shown), shown);
        return isReason(error, 'QKD_OUT_OF_STEP');
      });
    });
  }

  it('puts an answer together that comes in pieces', async (t) => {
    const { driver } = await oddServer(t, ({ socket }) => {
      const bytes = [...Buffer.from(` \n${keyAnswer()}\n`)];
      const next = () => {
        const byte = bytes.shift();
        if (byte !== undefined) socket.write(Buffer.from([byte]), next);
      };
      next();
    });
    assert.deepEqual(await driver.fetch('kme-1', 0n, 1, 24, never), KEY);
  });

  it('sends what the reference sends', async (t) => {
    const seen: { command: string; data: Record<string, unknown> }[] = [];
    const { driver } = await oddServer(t, ({ socket, text }) => {
      seen.push(JSON.parse(text));
      socket.end(text.includes('OPEN') ? OPENED : keyAnswer());
    });
    const stream = { ...qkdStreamName(2), keyStreamId: '11111111-1111-4111-8111-111111111111' };
    await driver.open(stream, 24, 'ksid-of-peer', never);
    await driver.fetch('kme-1', 2n ** 32n + 5n, 1, 24, never);
    await driver.close('kme-1', never);
    const [open, get, close] = seen;
    const name = 'qkd://keyweave-11111111-1111-4111-8111-111111111111-2';
    assert.equal(open?.command, 'OPEN_CONNECT');
    assert.equal(open.data.source, `${name}@${stream.sourceNode}`);
    assert.equal(open.data.destination, `${name}@${stream.destinationNode}`);
    assert.equal(open.data.key_stream_id, 'ksid-of-peer');
    assert.deepEqual(Object.keys(open.data.qos as object), [
      'key_chunk_size',
      'max_bps',
      'min_bps',
      'jitter',
      'priority',
      'timeout',
      'ttl',
      'metadata_mimetype',
    ]);
    assert.deepEqual([get?.command, get?.data.key_stream_id, get?.data.index], ['GET_KEY', 'kme-1', 5]);
    assert.deepEqual(close, { command: 'CLOSE', data: { key_stream_id: 'kme-1' } });
  });

  it('never sends requests together to a key manager that does not understand them', async (t) => {
    let answered = 0;
    const { driver } = await oddServer(t, ({ socket, text }) => {
      const requests = requestsIn(text);
      if (requests.length > 1) return socket.write('{"status":"error","message":"Invalid JSON received"}');
      if (requests[0]?.data.key_stream_id !== 'kme-1') return socket.write(UNKNOWN);
      answered += 1;
      return socket.write(keyAnswer());
    });
    // What is learnt beside it disturbs no fetch.
    const [, keys] = await Promise.all([driver.learn(), driver.fetch('kme-1', 0n, 40, 24, never)]);
    assert.equal(keys.length, 40 * 24);
    assert.equal((await driver.fetch('kme-1', 40n, 40, 24, never)).length, 40 * 24);
    assert.equal(answered, 80);
  });

  it('learns with requests that arrive in one piece, since a simple server may read others one by one', async (t) => {
    const arrived: number[] = [];
    const { driver } = await oddServer(t, ({ socket, text }) => {
      const requests = requestsIn(text);
      arrived.push(requests.length);
      socket.write(UNKNOWN.repeat(requests.length));
    });
    await driver.learn();
    assert.deepEqual(arrived, [1, 32, 1]);
  });

  it('sends requests one at a time when it has not learnt anything', async (t) => {
    let most = 0;
    const { driver } = await oddServer(t, ({ socket, text }) => {
      const requests = requestsIn(text);
      most = Math.max(most, requests.length);
      for (const _ of requests) socket.write(keyAnswer());
    });
    await driver.fetch('kme-1', 0n, 200, 24, never);
    assert.equal(most, 1);
  });

  it('asks a key manager that loses keys for two samples of a block, not more', async (t) => {
    let lost = 0;
    const { driver } = await oddServer(t, ({ socket, text }) => {
      const [request] = requestsIn(text);
      if (request?.command !== 'GET_KEY') return socket.write(OPENED);
      if (request.data.key_stream_id !== 'kme-1') return socket.write(UNKNOWN);
      lost += 1;
      return socket.destroy();
    });
    for (let i = 0; i < 12; i++) await driver.learn(qkdStreamName());
    assert.deepEqual([lost, driver.blockBytes], [2, 0]);
  });

  it('knows a key manager that gives keys of one size whatever is agreed', async (t) => {
    const { driver } = await oddServer(t, ({ socket, text }) => {
      socket.write(
        requestsIn(text)[0]?.command === 'GET_KEY' ? keyAnswer([...KEY, ...KEY.subarray(0, 8)]) : OPENED,
      );
    });
    await driver.learn(qkdStreamName());
    assert.equal(driver.blockBytes, 0);
  });

  it('learns that a key manager closes late, from the first request lost to it', async (t) => {
    const { driver } = await oddServer(t, ({ socket, nth }) => {
      if (nth === 0) socket.write(keyAnswer());
      else socket.destroy();
    });
    await assert.rejects(driver.fetch('kme-1', 0n, 2, 24, never), reason('QKD_OUT_OF_STEP'));
    assert.equal((await driver.fetch('kme-2', 0n, 5, 24, never)).length, 5 * 24);
  });

  it('sends OPEN_CONNECT again, but never GET_KEY, when a used connection was dead', async (t) => {
    const commands: string[] = [];
    const { driver } = await oddServer(
      t,
      ({ socket, text, nth }) => {
        commands.push(commandOf(text));
        if (nth === 0) socket.write(OPENED);
        else socket.destroy();
      },
      { connection: 'reuse' },
    );
    await driver.open(qkdStreamName(), 24, '', never);
    await driver.open(qkdStreamName(), 24, '', never);
    await assert.rejects(driver.fetch('kme-1', 0n, 1, 24, never), reason('QKD_OUT_OF_STEP'));
    assert.deepEqual(commands, ['OPEN_CONNECT', 'OPEN_CONNECT', 'OPEN_CONNECT', 'GET_KEY']);
  });

  it('does not send OPEN_CONNECT again after half an answer', async (t) => {
    let opens = 0;
    const { driver } = await oddServer(t, ({ socket }) => {
      opens += 1;
      socket.end('{"status":');
    });
    await assert.rejects(driver.open(qkdStreamName(), 24, '', never), reason('QKD_UNAVAILABLE'));
    assert.equal(opens, 1);
  });

  it('counts a refusal after keys as lost keys, and a refusal alone as none', async (t) => {
    let left = 2;
    const { driver } = await oddServer(t, ({ socket }) => {
      socket.write(left-- > 0 ? keyAnswer() : '{"status":6}');
    });
    await assert.rejects(driver.fetch('kme-1', 0n, 3, 24, never), reason('QKD_OUT_OF_STEP'));
    await assert.rejects(driver.fetch('kme-1', 0n, 3, 24, never), reason('QKD_UNAVAILABLE'));
  });

  it('does not take a key that comes behind a dry answer', async (t) => {
    let requests = 0;
    const { driver } = await oddServer(t, ({ socket, text }) => {
      for (const { data } of requestsIn(text)) {
        if (data.key_stream_id !== 'kme-1') socket.write(UNKNOWN);
        else socket.write(++requests === 4 ? '{"status":2}' : keyAnswer());
      }
    });
    await driver.learn();
    // One, one more, then several together: the second of those finds it dry, the third gets a key.
    await assert.rejects(driver.fetch('kme-1', 0n, 40, 24, never), /QKD_OUT_OF_STEP.*skipped/);
  });

  const opens: [string, string, boolean][] = [
    ['an adjusted QoS', '{"status":7,"key_stream_id":"k","qos":{"key_chunk_size":24,"max_bps":1}}', true],
    ['no QoS', '{"status":0,"key_stream_id":"k","qos":null}', true],
    ['keys of another size', '{"status":7,"key_stream_id":"k","qos":{"key_chunk_size":16}}', false],
    ['a stream without a name', '{"status":0}', false],
    ['an error', '{"status":"error","message":"no"}', false],
  ];
  for (const [what, text, taken] of opens) {
    it(`${taken ? 'takes' : 'refuses'} an OPEN_CONNECT answered with ${what}`, async (t) => {
      const { driver } = await oddServer(t, ({ socket }) => socket.end(text));
      const opening = driver.open(qkdStreamName(), 24, '', never);
      if (taken) assert.equal(await opening, 'k');
      else await assert.rejects(opening, reason('QKD_UNAVAILABLE'));
    });
  }

  it('drops a connection on which something comes that nobody asked for', async (t) => {
    const { driver, sockets } = await oddServer(t, ({ socket }) => socket.write(OPENED), {
      connection: 'reuse',
    });
    await driver.open(qkdStreamName(), 24, '', never);
    const [first] = sockets;
    assert.ok(first);
    const closed = once(first, 'close');
    first.write('{"status":0}');
    await closed;
    assert.equal(await driver.open(qkdStreamName(), 24, '', never), 'kme-1');
  });
});
