import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { QOS } from '#test/helpers/network.ts';
import { exitCodeOf } from '../ending/exit-codes.ts';
import { type BothEndsReport, type End, runBothEnds } from './both-ends.ts';

/** A node that opens whatever it is asked to and gives one key, at one index. */
async function fakeNode(
  t: { after: (end: () => void) => void },
  key: readonly number[],
  { index = 1, openStatus = 0 } = {},
): Promise<Address> {
  const sockets: Socket[] = [];
  const answers = {
    OPEN_CONNECT: { status: openStatus, message: 'no', key_stream_id: 'x', qos: { key_chunk_size: 4 } },
    GET_KEY: { status: 0, key_buffer: key, index },
    CLOSE: { status: 0 },
  };
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      const { command } = JSON.parse(data.toString()) as { command: keyof typeof answers };
      socket.write(JSON.stringify(answers[command]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { host: '127.0.0.1', port: (server.address() as { port: number }).port };
}

function bothEnds(
  [address, peerAddress]: readonly [Address, Address],
  told: string[] = [],
): Promise<BothEndsReport> {
  return runBothEnds({
    ...{ address, peerAddress, tls: undefined, keys: 1, showKey: false },
    request: {
      source: 'hybrid://a@x',
      destination: 'hybrid://a@y',
      qos: { ...QOS, key_chunk_size: 4, metadata_mimetype: '' },
    },
    signal: new AbortController().signal,
    onCall: (end: End, { call }) => told.push(`${end} ${call}`),
  });
}

const KEY = [1, 2, 3, 4];

describe('both ends of one driver', () => {
  it('open, fetch and close at both nodes, and find equal keys', async (t) => {
    const told: string[] = [];
    const report = await bothEnds([await fakeNode(t, KEY), await fakeNode(t, KEY)], told);
    assert.equal(report.error, undefined);
    assert.equal(report.here.calls[1]?.sha256, report.peer.calls[1]?.sha256);
    assert.deepEqual(
      told.toSorted(),
      ['here', 'peer'].flatMap((end) => ['CLOSE', 'GET_KEY', 'OPEN_CONNECT'].map((call) => `${end} ${call}`)),
    );
  });

  for (const [what, key, index] of [
    ['other keys', [1, 2, 3, 5], 1],
    ['the same at another index', KEY, 2],
  ] as const) {
    it(`fail on ${what}`, async (t) => {
      const report = await bothEnds([await fakeNode(t, KEY), await fakeNode(t, key, { index })]);
      assert.match(String(report.error), /DIFFERENT keys/);
      assert.equal(exitCodeOf(report.error), 1);
    });
  }

  it('fail where the other node refuses', async (t) => {
    const report = await bothEnds([await fakeNode(t, KEY), await fakeNode(t, KEY, { openStatus: 4 })]);
    assert.equal(exitCodeOf(report.error), 6);
    assert.equal(report.here.error, undefined);
  });
});
