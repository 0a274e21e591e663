import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { parseJsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { QOS } from '#test/helpers/network.ts';
import { Etsi004Client, expectSuccess, fetchKey, openStream } from './etsi004-client.ts';

const DATA = {
  source: 'hybrid://a@x',
  destination: 'hybrid://b@y',
  qos: { ...QOS, key_chunk_size: 4 },
};

/** A node that answers as the test says, and what it was asked. */
async function node(t: TestContext, answers: Record<string, object>) {
  const asked: { command: string; data: unknown }[] = [];
  const server = createServer((socket) => {
    socket.on('data', (piece) => {
      const request = JSON.parse(piece.toString());
      asked.push(request);
      socket.write(JSON.stringify(answers[request.command] ?? { status: 5, message: 'no' }));
    });
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const client = await Etsi004Client.connect({ host: '127.0.0.1', port } as Address);
  t.after(() => {
    client.disconnect();
    server.close();
  });
  return { client, asked };
}

describe('Etsi004Client', () => {
  it('opens, fetches and closes, in the words of the JSON API', async (t) => {
    const { client, asked } = await node(t, {
      OPEN_CONNECT: { status: 0, key_stream_id: 'k', qos: { ...QOS, key_chunk_size: 2 } },
      GET_KEY: { status: 0, index: 3, key_buffer: [1, 255], metadata: { size: 2, buffer: '{}' } },
      CLOSE: { status: 0 },
    });
    assert.deepEqual(await openStream(client, DATA), { ksid: 'k', chunkBytes: 2 });
    assert.deepEqual(await fetchKey(client, 'k', 2), {
      key: Buffer.from([1, 255]),
      index: 3,
      metadata: '{}',
    });
    assert.equal((await client.close('k')).status, 0);
    assert.deepEqual(
      asked.map(({ command }) => command),
      ['OPEN_CONNECT', 'GET_KEY', 'CLOSE'],
    );
    assert.deepEqual(asked[0]?.data, DATA);
    assert.deepEqual(asked[2]?.data, { key_stream_id: 'k' });
  });

  it('takes the chunk size that was asked for where the node names none, and status 7 for open', async (t) => {
    const { client } = await node(t, {
      OPEN_CONNECT: { status: 7, message: 'adjusted', key_stream_id: 'k' },
    });
    assert.deepEqual(await openStream(client, DATA), { ksid: 'k', chunkBytes: 4 });
  });

  it("refuses every other status with the node's own words", async (t) => {
    const { client } = await node(t, {});
    await assert.rejects(fetchKey(client, 'k', 4), /GET_KEY was answered with status 5: no/);
    assert.throws(
      () => expectSuccess('GET_KEY', parseJsonAnswer({ status: 7, message: 'm' })),
      /status 7: m/,
    );
  });

  it('says where no node answers', async () => {
    await assert.rejects(
      Etsi004Client.connect({ host: '127.0.0.1', port: 1 }),
      (error) => isReason(error, 'SERVICE_UNAVAILABLE') && String(error).includes('127.0.0.1:1'),
    );
  });
});
