import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { createCa } from '#certs/issue.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { JsonFramer } from '#common/etsi/json-framer.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { systemClock } from '#common/time/clock.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { APPLICATION } from '#test/helpers/openings.ts';
import { keyStream, termsOf } from '#test/helpers/streams.ts';
import type { GetKey, KeyDelivery, OpenConnect, Opened } from '../../delivery/key-delivery.ts';
import { keyMetadata } from '../../delivery/key-metadata.ts';
import { abandonedError } from '../../streams/chunk-buffer.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import { FairTurns } from '../fair-turns.ts';
import { leanSocket } from '../lean-socket.ts';
import type { Connection } from '../listener.ts';
import { type JsonClientOptions, serveJsonClient } from './connection.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const GET_KEY = request('GET_KEY', { key_stream_id: KSID });
const OPEN = request('OPEN_CONNECT', { source: 'a', destination: 'b' });
const CLOSE = request('CLOSE', { key_stream_id: KSID });
const UNKNOWN = '{"command":"X"}';
const MIB = 1024 * 1024;

const LIMITS = {
  max_request_bytes: 65_536,
  idle_timeout: 60_000,
  request_timeout: 60_000,
  write_timeout: 60_000,
};

interface Answer {
  status: number;
  message?: string;
  index?: number;
  metadata?: { size: number; buffer: string };
}

let pair: { cert: string; key: string };

before(async () => {
  const ca = await createCa({ network: 'test', days: 1 });
  pair = { cert: ca.certificate, key: ca.key };
});

let server: Server;
let stream: KeyStream;
/** The ends of the gateway, in the order in which they were made. */
let served: Connection[];
let clients: Socket[];
let closed: string[];
let limits: typeof LIMITS;
let turns: JsonClientOptions['turns'];
let opening: (request: OpenConnect) => Promise<Opened>;
/** What the delivery was asked for, oldest first. */
let asked: GetKey[];

const SETTINGS: JsonClientOptions['settings'] = {
  peer_presence: 'node',
  default_method: 'hkdf-sha256',
  default_key_sources: ['QKD'],
};

function request(command: string, data: object): string {
  return JSON.stringify({ command, data });
}

/** The stream's keys, as the gateway gives them. */
const delivery: KeyDelivery = {
  open: (request) => opening(request),
  getKey: (request) => {
    const { index, metadata: wanted, signal, waitedMs = 0 } = request;
    asked.push(request);
    let metadata = '';
    const taken = stream.take(
      index,
      Math.max(0, stream.qos.timeoutMs - waitedMs),
      (chunk) => {
        if (signal.aborted) throw abandonedError();
        metadata = keyMetadata(chunk, stream, wanted);
      },
      signal,
    );
    return taken instanceof Promise
      ? taken.then(({ index, key }) => ({ index, key, metadata }))
      : { index: taken.index, key: taken.key, metadata };
  },
  close: ({ ksid }) => void closed.push(ksid),
};

for (const transport of ['TCP', 'TLS'] as const) {
  describe(`over ${transport}`, () => {
    beforeEach(async () => {
      stream = keyStream({
        id: KSID,
        terms: termsOf('xoring', ['ML-KEM-768', 'QKD']),
        qos: { timeoutMs: 5_000 },
        maxBufferedChunks: 1_000,
        clock: systemClock,
      });
      served = [];
      clients = [];
      closed = [];
      asked = [];
      limits = LIMITS;
      turns = new FairTurns();
      opening = () => new Promise(() => undefined);
      const serve = (open: (receive: (data: Buffer) => void) => Socket) => {
        served.push(
          serveJsonClient({
            ...{
              accepted: { owner: APPLICATION, open },
              delivery,
              settings: SETTINGS,
              limits,
              turns,
              log: silentLog,
            },
          }),
        );
      };
      server =
        transport === 'TLS'
          ? createTlsServer({ ...pair, allowHalfOpen: true, noDelay: true }, (accepted) =>
              serve((receive) => accepted.on('data', receive)),
            )
          : createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (accepted) =>
              serve((receive) => leanSocket(accepted, receive)),
            );
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    });

    afterEach(async () => {
      for (const socket of [...clients, ...served.map((connection) => connection.socket)]) socket.destroy();
      stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
      server.close();
      await once(server, 'close');
    });

    async function client(): Promise<Socket> {
      const { port } = server.address() as { port: number };
      const options = { port, host: '127.0.0.1', allowHalfOpen: true };
      const socket =
        transport === 'TLS'
          ? connectTls({ ...options, ca: pair.cert, rejectUnauthorized: false })
          : connect(options);
      socket.on('error', () => undefined);
      clients.push(socket);
      await once(socket, transport === 'TLS' ? 'secureConnect' : 'connect');
      await until(() => served.length === clients.length);
      return socket;
    }

    /** The next `count` answers that come. */
    async function answers(socket: Socket, count: number): Promise<Answer[]> {
      const framer = new JsonFramer({ maxBytes: MIB });
      const found: Answer[] = [];
      const receive = (data: Buffer) => {
        for (const frame of framer.push(data)) found.push(JSON.parse(String(frame)));
      };
      socket.on('data', receive);
      await until(() => found.length >= count);
      socket.off('data', receive);
      assert.equal(found.length, count);
      return found;
    }

    /** Waits until `check` holds. */
    async function until(check: () => boolean): Promise<void> {
      const end = performance.now() + 10_000;
      while (!check()) {
        assert.ok(performance.now() < end, `never: ${check}`);
        await pause(5);
      }
    }

    const release = (first: number, count: number) =>
      stream.release(first, Buffer.alloc(count * 32, 7), false);
    const agree = (change: Partial<Qos>) => stream.agree({ ...stream.qos, ...change }, false);
    const waiters = (count: number) => until(() => stream.buffer.waiting === count);

    describe('requests of one connection', () => {
      it('are answered in order, those that wait among them', async () => {
        const socket = await client();
        socket.write([GET_KEY, CLOSE, UNKNOWN, GET_KEY].join(''));
        await waiters(1);
        assert.deepEqual(closed, []);
        release(0, 2);
        const statuses = (await answers(socket, 4)).map(({ status, index }) => [status, index]);
        assert.deepEqual(statuses, [
          [0, 0],
          [0, undefined],
          [1, undefined],
          [0, 1],
        ]);
      });

      it('are served eight at a time, then others have their turn', async () => {
        const added: (() => void)[] = [];
        turns = { add: (go: () => void) => void added.push(go), remove: () => undefined };
        const socket = await client();
        socket.write(CLOSE.repeat(20));
        await until(() => added.length === 1);
        assert.equal(closed.length, 8);
        added[0]?.();
        assert.equal(closed.length, 16);
        added[1]?.();
        assert.equal(closed.length, 20);
        assert.equal(added.length, 2);
        assert.equal((await answers(socket, 20)).length, 20);
      });

      it('get the metadata that fits, and the key always', async () => {
        release(0, 4);
        const socket = await client();
        for (const size of [0, 10, 46, 1_000]) {
          socket.write(request('GET_KEY', { key_stream_id: KSID, metadata: { size, buffer: '' } }));
        }
        const given = (await answers(socket, 4)).map(({ status, metadata }) => [
          status,
          metadata && Object.keys(JSON.parse(metadata.buffer)).length,
        ]);
        assert.deepEqual(given, [
          [0, undefined],
          [0, undefined],
          [0, 2],
          [0, 6],
        ]);
      });

      it('are asked for by who calls, with what the listener says', async () => {
        let request: OpenConnect | undefined;
        opening = async (one) => {
          request = one;
          return { ksid: KSID, qos: stream.qos, adjusted: undefined };
        };
        release(0, 1);
        const socket = await client();
        socket.write(OPEN + GET_KEY);
        await answers(socket, 2);
        assert.deepEqual(
          [request?.source, request?.destination, request?.presence, request?.defaults],
          ['a', 'b', 'node', { method: 'hkdf-sha256', keySources: ['QKD'] }],
        );
        assert.equal(request?.owner, APPLICATION);
        assert.deepEqual([asked[0]?.ksid, asked[0]?.owner], [KSID, APPLICATION]);
      });

      it('get no metadata where the stream has none', async () => {
        agree({ metadataMimetype: '' });
        release(0, 1);
        const socket = await client();
        socket.write(GET_KEY);
        assert.equal((await answers(socket, 1))[0]?.metadata, undefined);
      });
    });

    describe('a client that goes away', () => {
      for (const [how, go] of [
        ['resets', (socket: Socket) => void socket.resetAndDestroy()],
        ['closes', (socket: Socket) => void socket.destroy()],
      ] as const) {
        // TLS has no reset of its own.
        if (transport === 'TLS' && how === 'resets') continue;
        it(`takes no key with it when it ${how} while it waits`, async () => {
          const socket = await client();
          socket.write(GET_KEY);
          await waiters(1);
          go(socket);
          await waiters(0);
          release(0, 1);
          await until(() => served[0]?.socket.closed === true);
          assert.equal(stream.buffer.size, 1);
        });
      }

      it('takes no key with it where it cannot be heard, for what it has sent behind', async () => {
        const socket = await client();
        socket.write(GET_KEY.repeat(500));
        await waiters(1);
        await until(() => served[0]?.socket.isPaused() === true);
        socket.destroy();
        await waiters(0);
        release(0, 1);
        assert.equal(stream.buffer.size, 1);
      });

      it('is not waited for by OPEN_CONNECT either', async () => {
        const told = Promise.withResolvers<void>();
        opening = ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => {
              told.resolve();
              reject(new KeyweaveError('TIMEOUT', 'gone'));
            });
          });
        const socket = await client();
        socket.write(OPEN);
        await until(() => served.length === 1);
        socket.destroy();
        await told.promise;
      });

      it('gets no key that comes when its connection is being torn down', async () => {
        const socket = await client();
        socket.write(GET_KEY);
        await waiters(1);
        served[0]?.socket.destroy();
        release(0, 1);
        await waiters(0);
        await pause(10);
        assert.equal(stream.buffer.size, 1);
      });
    });

    describe('a client that closes its sending side and reads on', () => {
      it('gets what is ready at once, and the connection ends', async () => {
        release(0, 2);
        const socket = await client();
        socket.end(GET_KEY);
        const text = await textOf(socket);
        assert.equal((JSON.parse(text) as Answer).index, 0);
        assert.equal(text[0], '{', 'it was asked whether it is there without need');
      });

      it('gets what it waits for, behind white space', async () => {
        const socket = await client();
        socket.write(GET_KEY);
        await waiters(1);
        socket.end();
        await waiters(0);
        await waiters(1);
        release(0, 1);
        const text = await textOf(socket);
        assert.match(text, /^ {2,4}\{/);
        assert.equal((JSON.parse(text) as Answer).index, 0);
      });

      it('waits no longer in all than the timeout of the stream', async () => {
        agree({ timeoutMs: 400 });
        const socket = await client();
        const began = performance.now();
        socket.write(GET_KEY);
        await waiters(1);
        await pause(200);
        socket.end();
        const { status } = JSON.parse(await textOf(socket)) as Answer;
        assert.equal(status, 6);
        const waited = performance.now() - began;
        assert.ok(waited > 390 && waited < 600, `${waited} ms`);
      });

      it('gets everything that it asked for before', async () => {
        release(0, 40);
        const socket = await client();
        socket.end(GET_KEY.repeat(40));
        const frames = new JsonFramer({ maxBytes: MIB }).push(Buffer.from(await textOf(socket)));
        assert.equal(frames.length, 40);
      });

      it('is told when its last request is not whole', async () => {
        const socket = await client();
        socket.end(`${CLOSE}{"command":`);
        const text = await textOf(socket);
        assert.match(
          text,
          /^\{"status":0\}\{"status":1,"message":"Invalid JSON received: the request is incomplete"\}$/,
        );
      });
    });

    describe('a client that does not read', () => {
      const KEYS = 500;

      /** Asks for 500 keys whose answers are 25 MB together, more than the kernel takes. */
      async function unreadKeys(): Promise<{ socket: Socket; end: Socket; sent: Buffer[] }> {
        const keyChunkSize = 12_240;
        agree({ keyChunkSize });
        stream.release(0, Buffer.alloc(KEYS * keyChunkSize, 0xff), false);
        const socket = await client();
        socket.pause();
        await until(() => served.length === 1);
        const { socket: end } = served[0] as Connection;
        const sent: Buffer[] = [];
        const write = end.write.bind(end) as (data: Buffer, done: () => void) => boolean;
        end.write = ((data: Buffer, done: () => void) => {
          sent.push(data);
          return write(data, done);
        }) as Socket['write'];
        socket.write(GET_KEY.repeat(KEYS));
        await until(() => end.writableNeedDrain);
        return { socket, end, sent };
      }

      it('is read no further once its answers lie here, and gets all of them when it reads', async () => {
        const { socket, end } = await unreadKeys();
        assert.ok(end.isPaused());
        assert.ok(end.writableLength < 65_536 + 50_000, `${end.writableLength} bytes`);
        const left = stream.buffer.size;
        for (let i = 0; i < 20; i++) await pause(1);
        assert.equal(stream.buffer.size, left);
        assert.ok(left > 0);
        socket.resume();
        const got = await answers(socket, KEYS);
        assert.deepEqual(
          got.map(({ status, index }) => [status, index]),
          Array.from({ length: KEYS }, (_, i) => [0, i]),
        );
      });

      it('is given up after the write timeout, and its answers are wiped', async () => {
        limits = { ...LIMITS, write_timeout: 100 };
        const { end, sent } = await unreadKeys();
        assert.ok(sent.at(-1)?.some((byte) => byte !== 0));
        await until(() => end.closed);
        await until(() => sent.every((answer) => answer.every((byte) => byte === 0)));
      });

      it('can leave no more than a read behind a request that waits', async () => {
        const socket = await client();
        socket.write(OPEN + '[]'.repeat(MIB));
        await until(() => served[0]?.socket.isPaused() === true);
        for (let i = 0; i < 20; i++) await pause(1);
        const { bytesRead } = (served[0] as Connection).socket;
        // The run time reads TLS in pieces of 64 KiB and holds as much once more.
        const most = transport === 'TLS' ? 3 * 65_536 : 4_096 + 16_384;
        assert.ok(bytesRead <= most, `${bytesRead} bytes`);
        socket.destroy();
      });
    });

    describe('garbage', () => {
      for (const [what, garbage] of [
        ['lines of it', 'x\n'],
        ['one line of it', 'x'],
        ['a text that nests too deeply', '['.repeat(100) + ']'.repeat(100)],
        ['a text that is too long', `{"a":"${'x'.repeat(70_000)}`],
      ] as const) {
        it(`${what}: one answer, then the connection ends, whatever is sent on`, async () => {
          const socket = await client();
          socket.write(CLOSE);
          assert.equal((await answers(socket, 1))[0]?.status, 0);
          socket.end(Buffer.alloc(4 * MIB, garbage));
          const answer = JSON.parse(await textOf(socket)) as Answer;
          assert.equal(answer.status, 1);
          assert.match(
            answer.message ?? '',
            /^(Invalid JSON received|a request may have 65536 bytes at most)$/,
          );
        });
      }

      it('behind requests does not take their answers away', async () => {
        release(0, 1);
        const socket = await client();
        socket.write(`${GET_KEY} x ${CLOSE}`);
        const text = await textOf(socket);
        assert.match(
          text,
          /^\{"status":0,"key_buffer":.*\}\{"status":1,"message":"Invalid JSON received"\}$/,
        );
        assert.deepEqual(closed, []);
      });

      it('of a client that never stops is not read for ever', async () => {
        const socket = await client();
        const chunk = Buffer.alloc(MIB, 'x');
        let sent = 0;
        socket.resume();
        for (; !socket.destroyed && sent < 200; sent++)
          await new Promise((done) => socket.write(chunk, done));
        assert.ok(sent >= 16 && sent < 100, `${sent} MiB`);
      });
    });

    describe('a client that is slow', () => {
      it('byte by byte is answered all the same', async () => {
        const socket = await client();
        socket.setNoDelay(true);
        for (const byte of CLOSE) await new Promise((sent) => socket.write(byte, sent));
        assert.equal((await answers(socket, 1))[0]?.status, 0);
      });

      it('with one request is told after the request timeout, and the connection ends', async () => {
        limits = { ...LIMITS, request_timeout: 50 };
        const socket = await client();
        socket.write('{"command":');
        const answer = JSON.parse(await textOf(socket)) as Answer;
        assert.deepEqual([answer.status, answer.message], [6, 'the request was not complete in time']);
      });

      it('may be idle between requests up to the idle timeout, and not while it is waited for', async () => {
        limits = { ...LIMITS, idle_timeout: 100, request_timeout: 50 };
        const socket = await client();
        socket.write(GET_KEY);
        await waiters(1);
        await pause(300);
        release(0, 1);
        assert.equal((await answers(socket, 1))[0]?.status, 0);
        await until(() => served[0]?.socket.closed === true);
      });

      it('never ends a connection that this end has closed: the write timeout does', async () => {
        limits = { ...LIMITS, write_timeout: 50 };
        const socket = await client();
        socket.resume();
        socket.write('x');
        await until(() => served[0]?.socket.closed === true);
      });
    });

    describe('finish', () => {
      it('lets the request that waits have its answer, and takes no more', async () => {
        const socket = await client();
        socket.write(GET_KEY);
        await waiters(1);
        served[0]?.finish();
        socket.write(CLOSE);
        release(0, 1);
        const text = await textOf(socket);
        assert.equal((JSON.parse(text) as Answer).index, 0);
        assert.deepEqual(closed, []);
      });

      it('closes an idle connection at once', async () => {
        const socket = await client();
        await until(() => served.length === 1);
        served[0]?.finish();
        assert.equal(await textOf(socket), '');
      });
    });
  });
}
