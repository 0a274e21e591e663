import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { leanSocket } from './lean-socket.ts';

describe('leanSocket', () => {
  it('gives each of several connections its own bytes, in order, however often it pauses', async (t) => {
    const ends: { socket: Socket; got: Buffer[]; over: Promise<unknown> }[] = [];
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (accepted) => {
      const got: Buffer[] = [];
      const socket = leanSocket(accepted, (data) => {
        got.push(Buffer.from(data));
        socket.pause();
        setImmediate(() => socket.resume());
      });
      ends.push({ socket, got, over: once(socket, 'end') });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    t.after(() => server.close());
    const sent = Array.from({ length: 3 }, () => randomBytes(1_000_000));
    const clients = sent.map((bytes) => {
      const socket = connect(port, '127.0.0.1');
      socket.end(bytes);
      return socket;
    });
    await Promise.all(clients.map((client) => once(client, 'finish')));
    for (const { socket, over } of ends) {
      await over;
      socket.destroy();
    }
    const received = ends.map(({ got }) => Buffer.concat(got).toString('base64')).sort();
    assert.deepEqual(received, sent.map((bytes) => bytes.toString('base64')).sort());
    assert.ok(ends.every(({ got }) => got.every((part) => part.length <= 16_384)));
  });

  it('gives no byte while it is paused', async (t) => {
    const accepted = Promise.withResolvers<{ socket: Socket; got: number[] }>();
    const server = createServer({ pauseOnConnect: true }, (one) => {
      const got: number[] = [];
      const socket = leanSocket(one, (data) => {
        got.push(data.length);
        socket.pause();
      });
      accepted.resolve({ socket, got });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = connect((server.address() as { port: number }).port, '127.0.0.1');
    t.after(() => {
      client.destroy();
      server.close();
    });
    client.write(Buffer.alloc(100_000));
    const { socket, got } = await accepted.promise;
    while (got.length === 0) await new Promise((turn) => setImmediate(turn));
    for (let i = 0; i < 100; i++) await new Promise((turn) => setImmediate(turn));
    assert.equal(got.length, 1);
    socket.resume();
    while (got.length === 1) await new Promise((turn) => setImmediate(turn));
    assert.equal(got.length, 2);
    socket.destroy();
  });
});
