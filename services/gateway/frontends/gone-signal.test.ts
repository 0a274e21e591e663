import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { goneSignal } from './gone-signal.ts';
import { leanSocket } from './lean-socket.ts';

let server: ReturnType<typeof createServer>;
let client: Socket;
let served: Socket;

beforeEach(async () => {
  const accepted = Promise.withResolvers<Socket>();
  server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
    accepted.resolve(leanSocket(socket, () => undefined)),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  client = connect((server.address() as { port: number }).port, '127.0.0.1');
  client.on('error', () => undefined);
  served = await accepted.promise;
  served.on('error', () => undefined);
});
afterEach(() => {
  client.destroy();
  served.destroy();
  server.close();
});

describe('goneSignal', () => {
  it('has fired when destroy returns, and the socket closes as ever', async () => {
    const gone = goneSignal(served);
    assert.equal(gone.aborted, false);
    const closed = once(served, 'close');
    served.destroy();
    assert.equal(gone.aborted, true);
    await closed;
    assert.equal((await once(client, 'end')).length, 0);
  });

  it('fires no later than the error of a connection that was reset', async () => {
    const gone = goneSignal(served);
    const seen = once(served, 'error').then(() => gone.aborted);
    client.resetAndDestroy();
    assert.equal(await seen, true);
  });

  it('does not fire where the other end only closes its sending side', async () => {
    const gone = goneSignal(served);
    client.end();
    await once(served, 'end');
    assert.equal(gone.aborted, false);
  });

  it('has fired for a socket that has gone already', () => {
    served.destroy();
    assert.equal(goneSignal(served).aborted, true);
  });
});
