import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { writeDelivered, writeOpened, writeStatus } from '#common/etsi/etsi004-binary-answers.ts';
import { readGetKey, readOpenConnect } from '#common/etsi/etsi004-binary-codec.ts';
import { BinaryFramer } from '#common/etsi/etsi004-binary-framer.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { openBoth, qkdDriverContract, qkdStreamName } from '#test/contract/qkd-driver-contract.ts';
import { driverPair, simulatedPairs } from '#test/helpers/driver-pairs.ts';
import type { KmeSimulatorOptions } from '../../../kme-simulator/main.ts';
import { BINARY_DIALECT, createEtsi004BinaryDriver } from './etsi004-binary.ts';

const never = new AbortController().signal;
const KSID = '11111111-1111-4111-8111-111111111111';
const URIS = { source: 'qkd://s@node-a', destination: 'qkd://s@node-b' };
const BETWEEN = qkdStreamName();

const create: Parameters<typeof driverPair>[1] = (address, qkd) => createEtsi004BinaryDriver(address, qkd);
const simulated = (simulator: Partial<KmeSimulatorOptions> = {}, change: object = {}) =>
  simulatedPairs(create, { dialect: 'etsi004-binary', ...simulator }, change);

qkdDriverContract('binary', simulated());
qkdDriverContract('binary, reused connections', simulated({}, { connection: 'reuse' }));
qkdDriverContract('binary, one read is one request', simulated({ habit: 'read-once' }));
qkdDriverContract('binary, byte by byte', simulated({ habit: 'byte-by-byte' }));
qkdDriverContract(
  'binary, a new connection for each call',
  simulated({ habit: 'close-after-answer' }, { connection: 'per-call' }),
);

/** A driver at a key manager of the test's own, which answers each request as it says. */
async function driverAt(t: TestContext, answer: (type: number, payload: Buffer) => Buffer, log?: Log) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const framer = new BinaryFramer({ maxBytes: 10_000 });
    socket.on('data', (data: Buffer) => {
      for (let at = 0; ; at = framer.end) {
        const frame = framer.next(data, at);
        if (!frame) return;
        if ('payload' in frame) socket.write(answer(frame.type, frame.payload));
      }
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as { port: number };
  const settings = nodeConfigSchema.shape.qkd.parse({ timeout: '5s', connection: 'reuse', pipeline: 'off' });
  const driver = createEtsi004BinaryDriver({ host: '127.0.0.1', port }, settings, log ? { log } : {});
  t.after(() => {
    driver.stop();
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return driver;
}

const key = (index: number) =>
  writeDelivered({ index, key: Buffer.alloc(32, index + 1), metadata: '{"age":1}' });

describe('ETSI 004 binary driver', () => {
  it('asks for what the reference meets, and names the stream to join', () => {
    const request = BINARY_DIALECT.openConnect({ uris: URIS, keyBytes: 32, timeoutMs: 5_000, join: KSID });
    assert.deepEqual(readOpenConnect(request.subarray(8)), {
      ...URIS,
      ksid: KSID,
      qos: {
        ...{ keyChunkSize: 32, maxBps: 500_000, minBps: 5_000, jitter: 10, priority: 0 },
        ...{ timeoutMs: 4_900, ttlS: 7_200, metadataMimetype: 'application/json' },
      },
    });
    const first = BINARY_DIALECT.openConnect({ uris: URIS, keyBytes: 32, timeoutMs: 5_000, join: '' });
    assert.equal(readOpenConnect(first.subarray(8)).ksid, undefined);
  });

  it('refuses to join by what is no Key_stream_ID', async (t) => {
    const driver = await driverAt(t, () => assert.fail('nothing is to be asked'));
    for (const join of ['kme-1', '../../etc', `${KSID}0`]) {
      await assert.rejects(driver.open(qkdStreamName(), 32, join, never), (error) =>
        isReason(error, 'QKD_UNAVAILABLE'),
      );
    }
    await driver.close('kme-1', never);
  });

  it('never opens a stream of its own where the one to join cannot be had', async (t) => {
    const asked: (string | undefined)[] = [];
    const driver = await driverAt(t, (type, payload) => {
      asked.push(readOpenConnect(payload).ksid);
      return writeStatus(type + 1, 5);
    });
    await assert.rejects(driver.open(qkdStreamName(), 32, KSID, never), /status 5/);
    assert.deepEqual(asked, [KSID]);
  });

  it('goes on where the QoS is adjusted, and not where the size of keys is', async (t) => {
    let keyChunkSize = 32;
    const driver = await driverAt(t, (type, payload) => {
      if (type !== 0x02) return writeStatus(type + 1, 0);
      const { qos } = readOpenConnect(payload);
      return writeOpened({ ksid: KSID, qos: { ...qos, maxBps: 1, keyChunkSize }, isAdjusted: true });
    });
    assert.equal(await driver.open(qkdStreamName(), 32, '', never), KSID);
    keyChunkSize = 16;
    await assert.rejects(driver.open(qkdStreamName(), 32, '', never), /does not give keys of 32 bytes/);
  });

  it('takes no key of another index for the one that it asked for', async (t) => {
    const driver = await driverAt(t, (_, payload) => {
      const { index } = readGetKey(payload);
      return key(index === 8 ? 7 : index);
    });
    const keys = await driver.fetch(KSID, 5n, 3, 32, never);
    assert.deepEqual([keys[0], keys[32], keys[64]], [6, 7, 8]);
    await assert.rejects(driver.fetch(KSID, 8n, 1, 32, never), (error) => isReason(error, 'QKD_OUT_OF_STEP'));
  });

  it('asks by the low 32 bits of the position', async (t) => {
    const asked: number[] = [];
    const driver = await driverAt(t, (_, payload) => {
      const { index } = readGetKey(payload);
      asked.push(index);
      return writeDelivered({ index, key: Buffer.alloc(32, 1), metadata: '' });
    });
    await driver.fetch(KSID, 2n ** 32n - 1n, 2, 32, never);
    assert.deepEqual(asked, [2 ** 32 - 1, 0]);
  });

  const broken: [string, Buffer][] = [
    ['a key that overruns its message', Buffer.concat([key(0).subarray(0, 60)])],
    ['a status of success without a key', writeStatus(0x05, 0)],
    ['another protocol', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['a request in place of an answer', writeStatus(0x04, 0, 20)],
    ['a length beyond every key', Buffer.from('01000105ffffffff', 'hex')],
  ];
  for (const [what, answer] of broken) {
    it(`does not take ${what} for an answer`, async (t) => {
      const bytes = Buffer.from(answer);
      // So that what is cut is a whole message with lengths that do not fit.
      if (what.startsWith('a key that')) bytes.writeUInt32BE(bytes.length - 8, 4);
      const driver = await driverAt(t, () => bytes);
      await assert.rejects(driver.fetch(KSID, 0n, 1, 32, never), (error) =>
        isReason(error, 'QKD_OUT_OF_STEP'),
      );
    });
  }

  it('learns that its key manager takes several requests at once, and gives blocks', async (t) => {
    const lines: string[] = [];
    const log = { ...silentLog, info: (text: string) => void lines.push(text) };
    const learning: Parameters<typeof driverPair>[1] = (address, qkd, end) =>
      createEtsi004BinaryDriver(address, qkd, end === 0 ? { log } : {});
    const { a, b, kme } = await driverPair(t, learning, { dialect: 'etsi004-binary' });
    await Promise.all([a.learn(BETWEEN), b.learn(BETWEEN)]);
    assert.deepEqual([a.blockBytes, b.blockBytes], [512, 512]);
    assert.match(lines.join(), /takes several requests at once.*gives blocks of keys/);
    assert.deepEqual(kme.state().openStreams, [], 'streams of the probes are left');
    const [atA, atB] = await openBoth({ a, b }, qkdStreamName(), 512);
    assert.deepEqual(await a.fetch(atA, 0n, 40, 512, never), await b.fetch(atB, 0n, 40, 512, never));
  });
});
