import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { JsonClient } from '#common/etsi/json-client.ts';

const REQUEST = Buffer.from('{"command":"X"}');

let server: Server;
let there: Socket;
let connection: JsonClient;

beforeEach(async () => {
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1');
  [there] = (await once(server, 'connection')) as [Socket];
  there.on('error', () => undefined);
  connection = new JsonClient(socket);
});

afterEach(() => {
  connection.destroy();
  there.destroy();
  server.close();
});

describe("JsonClient, the client's end", () => {
  it('gives each request its answer, in order, whatever the segments', async () => {
    const asking = [connection.request(REQUEST), connection.request(REQUEST)];
    there.write(' {"n":1}{"n"');
    there.write(':2}');
    assert.deepEqual(await Promise.all(asking), [{ n: 1 }, { n: 2 }]);
    assert.deepEqual([connection.answers, connection.untouched], [2, true]);
  });

  it('says when a request died with a part of its answer there', async () => {
    const asking = connection.request(REQUEST);
    there.write('{"n":');
    there.end();
    await assert.rejects(asking, /closed the connection/);
    assert.equal(connection.untouched, false);
  });

  it('says when a request died with an answer that is none: it was served for all one knows', async () => {
    const asking = connection.request(REQUEST);
    there.write('oops\n');
    await assert.rejects(asking, /not JSON/);
    assert.equal(connection.untouched, false);
  });

  it('looks at nothing behind what ends it, were it a flood', async () => {
    const asking = connection.request(REQUEST);
    there.write(Buffer.from(`oops\n${'{}'.repeat(20_000)}`));
    await assert.rejects(asking, /not JSON/);
    await connection.whenClosed;
    assert.equal(connection.answers, 0);
  });

  it('ends where more is answered than was asked', async () => {
    there.write('{"n":1}');
    await connection.whenClosed;
    await assert.rejects(connection.request(REQUEST), /closed/);
  });
});
