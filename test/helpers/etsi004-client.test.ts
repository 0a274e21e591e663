import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { Etsi004Client, openStream } from './etsi004-client.ts';
import { QOS } from './network.ts';

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
    assert.deepEqual(await openStream(client, DATA), { ksid: 'k' });
    const key = await client.getKey('k');
    assert.deepEqual([key.index, key.key_buffer, key.metadata?.buffer], [3, [1, 255], '{}']);
    assert.equal((await client.close('k')).status, 0);
    assert.deepEqual(
      asked.map(({ command }) => command),
      ['OPEN_CONNECT', 'GET_KEY', 'CLOSE'],
    );
    assert.deepEqual(asked[0]?.data, DATA);
    assert.deepEqual(asked[2]?.data, { key_stream_id: 'k' });
  });

  it('takes status 7 with a KSID for open, and tells of every other', async (t) => {
    const adjusted = await node(t, { OPEN_CONNECT: { status: 7, message: 'adjusted', key_stream_id: 'k' } });
    assert.deepEqual(await openStream(adjusted.client, DATA), { ksid: 'k' });
    const refusing = await node(t, {});
    await assert.rejects(openStream(refusing.client, DATA), /status 5: no/);
  });

  it('says where no node answers', async () => {
    await assert.rejects(
      Etsi004Client.connect({ host: '127.0.0.1', port: 1 }),
      (error) => isReason(error, 'SERVICE_UNAVAILABLE') && String(error).includes('127.0.0.1:1'),
    );
  });
});
