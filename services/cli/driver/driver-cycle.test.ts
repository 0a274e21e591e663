import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { QOS } from '#test/helpers/network.ts';
import { exitCodeOf } from '../ending/exit-codes.ts';
import { type CallReport, type CycleReport, runCycle } from './driver-cycle.ts';

const KSID = '00000000-0000-4000-8000-000000000000';
const REQUEST = {
  source: 'hybrid://a@x',
  destination: 'hybrid://a@y',
  qos: { ...QOS, key_chunk_size: 4, metadata_mimetype: '' },
};
const OPENED = { status: 0, key_stream_id: KSID, qos: { key_chunk_size: 4 } };
const KEY = { status: 0, key_buffer: [1, 2, 3, 4], index: 1 };

/** What a node does with a call: an answer, nothing, or the end of the connection. */
type Answer = object | 'silent' | 'hang up';

interface Fake {
  /** The calls that came, each with the number of its connection. */
  readonly seen: string[];
  cycle(keys: number, signal?: AbortSignal, onCall?: (call: CallReport) => void): Promise<CycleReport>;
}

/** A node that answers each kind of call with the next of its answers, the last one again and again. */
async function fakeNode(
  t: { after: (end: () => void) => void },
  answers: Partial<Record<CallReport['call'], Answer[]>>,
  onSeen: (call: string) => void = () => undefined,
): Promise<Fake> {
  const seen: string[] = [];
  const sockets: Socket[] = [];
  const script: Record<CallReport['call'], Answer[]> = {
    OPEN_CONNECT: [OPENED],
    GET_KEY: [KEY],
    CLOSE: [{ status: 0 }],
    ...answers,
  };
  const server = createServer((socket) => {
    const connection = sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      const { command, data: sent } = JSON.parse(data.toString()) as {
        command: CallReport['call'];
        data: { key_stream_id?: string };
      };
      seen.push(`${connection} ${command}${sent.key_stream_id === undefined ? '' : ' it'}`);
      onSeen(command);
      const list = script[command];
      const answer = (list.length > 1 ? list.shift() : list[0]) as Answer;
      if (answer === 'hang up') socket.destroy();
      else if (answer !== 'silent') socket.write(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as { port: number };
  return {
    seen,
    cycle: (keys, signal = new AbortController().signal, onCall = () => undefined) =>
      runCycle({
        address: { host: '127.0.0.1', port },
        tls: undefined,
        request: REQUEST,
        keys,
        showKey: false,
        signal,
        onCall,
      }),
  };
}

const statuses = ({ calls }: CycleReport) => calls.map(({ call, status }) => `${call} ${status}`);

describe('a cycle of the driver', () => {
  it('opens, fetches and closes over one connection, and shows no key', async (t) => {
    const { cycle, seen } = await fakeNode(t, {});
    const told: string[] = [];
    const report = await cycle(2, undefined, ({ call }) => told.push(call));
    assert.equal(report.error, undefined);
    assert.deepEqual(seen, ['1 OPEN_CONNECT', '1 GET_KEY it', '1 GET_KEY it', '1 CLOSE it']);
    assert.deepEqual(told, ['OPEN_CONNECT', 'GET_KEY', 'GET_KEY', 'CLOSE']);
    assert.deepEqual(
      report.calls.map(({ key, sha256 }) => [key, sha256]),
      [
        [undefined, undefined],
        [undefined, '9f64a747e1b97f13'],
        [undefined, '9f64a747e1b97f13'],
        [undefined, undefined],
      ],
    );
  });

  it('tells the status that it got: of a stream that is open on an adjusted QoS, 7, and why', async (t) => {
    const { cycle } = await fakeNode(t, {
      OPEN_CONNECT: [{ ...OPENED, status: 7, message: 'min_bps 9 cannot be given' }],
    });
    const report = await cycle(1);
    assert.deepEqual(statuses(report), ['OPEN_CONNECT 7', 'GET_KEY 0', 'CLOSE 0']);
    assert.equal(report.calls[0]?.message, 'min_bps 9 cannot be given');
    assert.equal(report.error, undefined);
  });

  it('closes nothing where nothing was opened', async (t) => {
    for (const status of [7, 4]) {
      const { cycle, seen } = await fakeNode(t, { OPEN_CONNECT: [{ status, message: 'no' }] });
      const report = await cycle(1);
      assert.deepEqual(statuses(report), [`OPEN_CONNECT ${status}`]);
      assert.equal(exitCodeOf(report.error), 6);
      assert.deepEqual(seen, ['1 OPEN_CONNECT']);
    }
  });

  for (const [what, answer, code] of [
    ['is refused', { status: 2, message: 'no key' }, 6],
    ['is no key', { status: 0, key_buffer: [1] }, 1],
    ['is no answer', { answer: 1 }, 1],
    ['breaks the connection off', 'hang up', 5],
  ] as const) {
    it(`closes the stream where a GET_KEY ${what}`, async (t) => {
      const { cycle, seen } = await fakeNode(t, { GET_KEY: [KEY, answer] });
      const report = await cycle(3);
      assert.equal(exitCodeOf(report.error), code, String(report.error));
      assert.deepEqual(seen, ['1 OPEN_CONNECT', '1 GET_KEY it', '1 GET_KEY it', '2 CLOSE it']);
    });
  }

  it('closes the stream though a GET_KEY waits, once it is interrupted', async (t) => {
    const interruption = new AbortController();
    const reason = new Error('interrupted');
    const { cycle, seen } = await fakeNode(
      t,
      { GET_KEY: ['silent'] },
      (call) => call === 'GET_KEY' && interruption.abort(reason),
    );
    const report = await cycle(1, interruption.signal);
    assert.equal(report.error, reason);
    assert.deepEqual(seen, ['1 OPEN_CONNECT', '1 GET_KEY it', '2 CLOSE it']);
  });

  it('ends though the node does not answer the CLOSE either', async (t) => {
    const { cycle } = await fakeNode(t, { GET_KEY: [{ status: 2 }], CLOSE: ['silent'] });
    assert.equal(exitCodeOf((await cycle(1)).error), 6);
  });
});
