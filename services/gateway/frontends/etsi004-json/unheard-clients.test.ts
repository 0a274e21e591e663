import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { JsonFramer } from '#common/etsi/json-framer.ts';
import { type Answer, CLOSE, GET_KEY, JsonDoor, OPEN } from '#test/helpers/json-door.ts';
import type { Connection } from '../listener.ts';

const MIB = 1024 * 1024;

for (const transport of ['TCP', 'TLS'] as const) {
  describe(`over ${transport}`, () => {
    let door: JsonDoor;
    beforeEach(async () => {
      door = await JsonDoor.open(transport);
    });
    afterEach(() => door.shut());

    describe('a client that goes away', () => {
      for (const [how, go] of [
        ['resets', (socket: Socket) => void socket.resetAndDestroy()],
        ['closes', (socket: Socket) => void socket.destroy()],
      ] as const) {
        // TLS has no reset of its own.
        if (transport === 'TLS' && how === 'resets') continue;
        it(`takes no key with it when it ${how} while it waits`, async () => {
          const socket = await door.client();
          socket.write(GET_KEY);
          await door.waiters(1);
          go(socket);
          await door.waiters(0);
          door.release(0, 1);
          await door.until(() => door.served[0]?.socket.closed === true);
          assert.equal(door.stream.buffer.size, 1);
        });
      }

      it('takes no key with it where it cannot be heard, for what it has sent behind', async () => {
        const socket = await door.client();
        socket.write(GET_KEY.repeat(500));
        await door.waiters(1);
        await door.until(() => door.served[0]?.socket.isPaused() === true);
        socket.destroy();
        await door.waiters(0);
        door.release(0, 1);
        assert.equal(door.stream.buffer.size, 1);
      });

      it('is not waited for by OPEN_CONNECT either', async () => {
        const told = Promise.withResolvers<void>();
        door.opening = ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => {
              told.resolve();
              reject(new KeyweaveError('TIMEOUT', 'gone'));
            });
          });
        const socket = await door.client();
        socket.write(OPEN);
        await door.until(() => door.served.length === 1);
        socket.destroy();
        await told.promise;
      });

      it('gets no key that comes when its connection is being torn down', async () => {
        const socket = await door.client();
        socket.write(GET_KEY);
        await door.waiters(1);
        door.served[0]?.socket.destroy();
        door.release(0, 1);
        await door.waiters(0);
        await pause(10);
        assert.equal(door.stream.buffer.size, 1);
      });
    });

    describe('a client that closes its sending side and reads on', () => {
      it('gets what is ready at once, and the connection ends', async () => {
        door.release(0, 2);
        const socket = await door.client();
        socket.end(GET_KEY);
        const text = await textOf(socket);
        assert.equal((JSON.parse(text) as Answer).index, 0);
        assert.equal(text[0], '{', 'it was asked whether it is there without need');
      });

      it('gets what it waits for, behind white space', async () => {
        const socket = await door.client();
        socket.write(GET_KEY);
        await door.waiters(1);
        socket.end();
        await door.waiters(0);
        await door.waiters(1);
        door.release(0, 1);
        const text = await textOf(socket);
        assert.match(text, /^ {2,4}\{/);
        assert.equal((JSON.parse(text) as Answer).index, 0);
      });

      it('waits no longer in all than the timeout of the stream', async () => {
        door.agree({ timeoutMs: 400 });
        const socket = await door.client();
        const began = performance.now();
        socket.write(GET_KEY);
        await door.waiters(1);
        await pause(200);
        socket.end();
        const { status } = JSON.parse(await textOf(socket)) as Answer;
        assert.equal(status, 6);
        const waited = performance.now() - began;
        assert.ok(waited > 390 && waited < 600, `${waited} ms`);
      });

      it('gets everything that it asked for before', async () => {
        door.release(0, 40);
        const socket = await door.client();
        socket.end(GET_KEY.repeat(40));
        const frames = new JsonFramer({ maxBytes: MIB }).push(Buffer.from(await textOf(socket)));
        assert.equal(frames.length, 40);
      });

      it('is told when its last request is not whole', async () => {
        const socket = await door.client();
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
        door.agree({ keyChunkSize });
        door.stream.release(0, Buffer.alloc(KEYS * keyChunkSize, 0xff), false);
        const socket = await door.client();
        socket.pause();
        await door.until(() => door.served.length === 1);
        const { socket: end } = door.served[0] as Connection;
        const sent: Buffer[] = [];
        const write = end.write.bind(end) as (data: Buffer, done: () => void) => boolean;
        end.write = ((data: Buffer, done: () => void) => {
          sent.push(data);
          return write(data, done);
        }) as Socket['write'];
        socket.write(GET_KEY.repeat(KEYS));
        await door.until(() => end.writableNeedDrain);
        return { socket, end, sent };
      }

      it('is read no further once its answers lie here, and gets all of them when it reads', async () => {
        const { socket, end } = await unreadKeys();
        assert.ok(end.isPaused());
        assert.ok(end.writableLength < 65_536 + 50_000, `${end.writableLength} bytes`);
        const left = door.stream.buffer.size;
        for (let i = 0; i < 20; i++) await pause(1);
        assert.equal(door.stream.buffer.size, left);
        assert.ok(left > 0);
        socket.resume();
        const got = await door.answers(socket, KEYS);
        assert.deepEqual(
          got.map(({ status, index }) => [status, index]),
          Array.from({ length: KEYS }, (_, i) => [0, i]),
        );
      });

      it('is given up after the write timeout, and its answers are wiped', async () => {
        door.limit({ write_timeout: 100 });
        const { end, sent } = await unreadKeys();
        assert.ok(sent.at(-1)?.some((byte) => byte !== 0));
        await door.until(() => end.closed);
        await door.until(() => sent.every((answer) => answer.every((byte) => byte === 0)));
      });

      it('can leave no more than a read behind a request that waits', async () => {
        const socket = await door.client();
        socket.write(OPEN + '[]'.repeat(MIB));
        await door.until(() => door.served[0]?.socket.isPaused() === true);
        for (let i = 0; i < 20; i++) await pause(1);
        const { bytesRead } = (door.served[0] as Connection).socket;
        // The run time reads TLS in pieces of 64 KiB and holds as much once more.
        const most = transport === 'TLS' ? 3 * 65_536 : 4_096 + 16_384;
        assert.ok(bytesRead <= most, `${bytesRead} bytes`);
        socket.destroy();
      });
    });
  });
}
