import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text as streamText } from 'node:stream/consumers';
import { afterEach, describe, it } from 'node:test';
import { keyOf, openData, openPair, type Pair, twoNodes } from '../helpers/network.ts';

const { network, alice, bob } = await twoNodes();
const toClose: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of toClose.splice(0)) await close();
});

const getKey = (ksid: string) =>
  JSON.stringify({ command: 'GET_KEY', data: { key_stream_id: ksid, index: 0 } });
/** Answered at once: when its answer is there, what came behind it in the same segment is being served. */
const MARK = '{"command":"MARK"}';

/** A client with a GET_KEY that waits at Alice. */
async function waitingClient(ksid: string): Promise<Socket> {
  const socket = connect({ ...alice.json, allowHalfOpen: true });
  socket.on('error', () => undefined);
  toClose.push(() => socket.destroy());
  socket.write(MARK + getKey(ksid));
  await once(socket, 'data');
  return socket;
}

async function killedClient(ksid: string): Promise<void> {
  const script = `
    const socket = require('node:net').connect(${alice.json.port}, '${alice.json.host}');
    socket.write(${JSON.stringify(MARK + getKey(ksid))});
    socket.once('data', () => console.log('waiting'));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

const WAYS_TO_GO: Record<string, (ksid: string) => Promise<void>> = {
  'a reset': async (ksid) => void (await waitingClient(ksid)).resetAndDestroy(),
  'a close': async (ksid) => void (await waitingClient(ksid)).destroy(),
  'a half-close and then a close': async (ksid) => {
    const socket = await waitingClient(ksid);
    await new Promise<void>((resolve) => socket.end(resolve));
    socket.destroy();
  },
  'the end of its process': killedClient,
};

/** A stream whose every GET_KEY at Alice waits, and what makes the keys come. */
const REASONS_TO_WAIT: Record<string, () => Promise<{ pair: Pair; first: number; release: () => void }>> = {
  'for max_bps': async () => {
    const pair = await openPair(network, openData(alice, bob, undefined, { max_bps: 256, min_bps: 0 }));
    keyOf(await pair.a.getKey(pair.ksid));
    return { pair, first: 1, release: () => undefined };
  },
  'for production': async () => {
    const pid = alice.services.hybridizer?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    const release = () => void process.kill(pid, 'SIGCONT');
    toClose.push(release);
    return { pair: await openPair(network, openData(alice, bob)), first: 0, release };
  },
};

describe('a client that goes away while its GET_KEY waits takes no key with it', () => {
  for (const [reason, stream] of Object.entries(REASONS_TO_WAIT)) {
    for (const [way, goAway] of Object.entries(WAYS_TO_GO)) {
      it(`${reason}, gone by ${way}`, async () => {
        const { pair, first, release } = await stream();
        toClose.push(() => pair.close());
        for (let i = 0; i < 3; i++) await goAway(pair.ksid);
        const asking = pair.a.getKey(pair.ksid);
        release();
        const answers = [await asking, await pair.a.getKey(pair.ksid)];
        assert.deepEqual(
          answers.map(({ status, index }) => [status, index]),
          [
            [0, first],
            [0, first + 1],
          ],
        );
      });
    }
  }
});

/** Everything that a client gets after it has sent `text` and closed its sending side. */
async function askLikeShell(text: string): Promise<string> {
  const socket = connect({ ...alice.json, allowHalfOpen: true });
  toClose.push(() => socket.destroy());
  socket.end(text);
  return streamText(socket);
}

describe('a client that closes its sending side and reads on gets its answer', () => {
  it('at once, where the key is there', async () => {
    const pair = await openPair(network, openData(alice, bob));
    toClose.push(() => pair.close());
    keyOf(await pair.a.getKey(pair.ksid));
    const text = await askLikeShell(getKey(pair.ksid));
    assert.deepEqual(keyOf(JSON.parse(text)), keyOf(await pair.b.getKey(pair.ksid, 1)));
  });

  for (const [reason, stream] of Object.entries(REASONS_TO_WAIT)) {
    it(`after a wait ${reason}`, async () => {
      const { pair, first, release } = await stream();
      toClose.push(() => pair.close());
      const asking = askLikeShell(getKey(pair.ksid));
      setTimeout(release, 500);
      const answer = JSON.parse(await asking) as { status: number; index: number };
      assert.deepEqual([answer.status, answer.index], [0, first]);
    });
  }

  it('of OPEN_CONNECT too', async () => {
    const data = openData(alice, bob);
    const asking = askLikeShell(JSON.stringify({ command: 'OPEN_CONNECT', data }));
    const other = connect(bob.json);
    toClose.push(() => other.destroy());
    other.write(JSON.stringify({ command: 'OPEN_CONNECT', data }));
    const answer = JSON.parse(await asking) as { status: number; message: string };
    assert.equal(answer.status, 0, answer.message);
  });
});
