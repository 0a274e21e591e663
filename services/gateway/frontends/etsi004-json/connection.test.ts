import assert from 'node:assert/strict';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type Answer, CLOSE, GET_KEY, getKeyWithRoom, JsonDoor, OPEN } from '#test/helpers/json-door.ts';
import type { OpenConnect } from '../../delivery/key-delivery.ts';

const UNKNOWN = '{"command":"X"}';
const MIB = 1024 * 1024;

for (const transport of ['TCP', 'TLS'] as const) {
  describe(`over ${transport}`, () => {
    let door: JsonDoor;
    beforeEach(async () => {
      door = await JsonDoor.open(transport);
    });
    afterEach(() => door.shut());

    describe('requests of one connection', () => {
      it('are answered in order, those that wait among them', async () => {
        const socket = await door.client();
        socket.write([GET_KEY, CLOSE, UNKNOWN, GET_KEY].join(''));
        await door.waiters(1);
        assert.deepEqual(door.closed, []);
        door.release(0, 2);
        const statuses = (await door.answers(socket, 4)).map(({ status, index }) => [status, index]);
        assert.deepEqual(statuses, [
          [0, 0],
          [0, undefined],
          [1, undefined],
          [0, 1],
        ]);
      });

      it('are served eight at a time, then others have their turn', async () => {
        const added: (() => void)[] = [];
        door.turns = { add: (go: () => void) => void added.push(go), remove: () => undefined };
        const socket = await door.client();
        socket.write(CLOSE.repeat(20));
        await door.until(() => added.length === 1);
        assert.equal(door.closed.length, 8);
        added[0]?.();
        assert.equal(door.closed.length, 16);
        added[1]?.();
        assert.equal(door.closed.length, 20);
        assert.equal(added.length, 2);
        assert.equal((await door.answers(socket, 20)).length, 20);
      });

      it('get the metadata that fits, and the key always', async () => {
        door.release(0, 4);
        const socket = await door.client();
        for (const size of [0, 10, 46, 1_000]) {
          socket.write(getKeyWithRoom(size));
        }
        const given = (await door.answers(socket, 4)).map(({ status, metadata }) => [
          status,
          metadata && Object.keys(JSON.parse(metadata.buffer)).length,
        ]);
        assert.deepEqual(given, [
          [0, undefined],
          [0, undefined],
          [0, 2],
          [0, 7],
        ]);
      });

      it('are asked for by who calls, with what the listener says', async () => {
        let request: OpenConnect | undefined;
        door.opening = async (one) => {
          request = one;
          return { ksid: door.stream.id, qos: door.stream.qos, adjusted: undefined };
        };
        door.release(0, 1);
        const socket = await door.client();
        socket.write(OPEN + GET_KEY);
        await door.answers(socket, 2);
        assert.deepEqual(
          [request?.source, request?.destination, request?.presence, request?.defaults],
          ['a', 'b', 'node', { method: 'hkdf-sha256', keySources: ['QKD'] }],
        );
        assert.equal(request?.owner, door.owners[0]);
        assert.deepEqual([door.asked[0]?.ksid, door.asked[0]?.owner], [door.stream.id, door.owners[0]]);
      });

      it('get no metadata where the stream has none', async () => {
        door.agree({ metadataMimetype: '' });
        door.release(0, 1);
        const socket = await door.client();
        socket.write(GET_KEY);
        assert.equal((await door.answers(socket, 1))[0]?.metadata, undefined);
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
          const socket = await door.client();
          socket.write(CLOSE);
          assert.equal((await door.answers(socket, 1))[0]?.status, 0);
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
        door.release(0, 1);
        const socket = await door.client();
        socket.write(`${GET_KEY} x ${CLOSE}`);
        const text = await textOf(socket);
        assert.match(
          text,
          /^\{"status":0,"key_buffer":.*\}\{"status":1,"message":"Invalid JSON received"\}$/,
        );
        assert.deepEqual(door.closed, []);
      });

      it('of a client that never stops is not read for ever', async () => {
        const socket = await door.client();
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
        const socket = await door.client();
        socket.setNoDelay(true);
        for (const byte of CLOSE) await new Promise((sent) => socket.write(byte, sent));
        assert.equal((await door.answers(socket, 1))[0]?.status, 0);
      });

      it('with one request is told after the request timeout, and the connection ends', async () => {
        door.limit({ request_timeout: 50 });
        const socket = await door.client();
        socket.write('{"command":');
        const answer = JSON.parse(await textOf(socket)) as Answer;
        assert.deepEqual([answer.status, answer.message], [6, 'the request was not complete in time']);
      });

      it('has its answer however long that takes after the last byte, and the next one, too', async () => {
        door.limit({ request_timeout: 200 });
        const socket = await door.client();
        socket.setNoDelay(true);
        for (const n of [1, 2]) {
          socket.write(GET_KEY.slice(0, 9));
          await door.until(
            () => (door.served[0]?.socket.bytesRead ?? 0) === n * 9 + (n - 1) * (GET_KEY.length - 9),
          );
          socket.write(GET_KEY.slice(9));
          await door.waiters(1);
          await pause(400);
          door.release(n - 1, 1);
          assert.equal((await door.answers(socket, 1))[0]?.status, 0);
        }
      });

      it('may be idle between requests up to the idle timeout, and not while it is waited for', async () => {
        door.limit({ idle_timeout: 100, request_timeout: 50 });
        const socket = await door.client();
        socket.write(GET_KEY);
        await door.waiters(1);
        await pause(300);
        door.release(0, 1);
        assert.equal((await door.answers(socket, 1))[0]?.status, 0);
        await door.until(() => door.served[0]?.socket.closed === true);
      });

      it('never ends a connection that this end has closed: the write timeout does', async () => {
        door.limit({ write_timeout: 50 });
        const socket = await door.client();
        socket.resume();
        socket.write('x');
        await door.until(() => door.served[0]?.socket.closed === true);
      });
    });

    describe('finish', () => {
      it('lets the request that waits have its answer, and takes no more', async () => {
        const socket = await door.client();
        socket.write(GET_KEY);
        await door.waiters(1);
        door.served[0]?.finish();
        socket.write(CLOSE);
        door.release(0, 1);
        const text = await textOf(socket);
        assert.equal((JSON.parse(text) as Answer).index, 0);
        assert.deepEqual(door.closed, []);
      });

      it('closes an idle connection at once', async () => {
        const socket = await door.client();
        await door.until(() => door.served.length === 1);
        door.served[0]?.finish();
        assert.equal(await textOf(socket), '');
      });
    });
  });
}
