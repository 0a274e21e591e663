import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { AnswerClient } from '#common/etsi/answer-client.ts';
import { JSON_DIALECT } from './etsi004-json.ts';
import { KmeConnections } from './kme-connections.ts';

const never = new AbortController().signal;
const turn = () => new Promise((resolve) => setImmediate(resolve));
const unavailable = (error: unknown) => isReason(error, 'QKD_UNAVAILABLE');
const ASK = Buffer.from('{}');

/** Waits for what the other end of a connection does. */
async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; !isSo(); i++) {
    if (i > 10_000) throw new Error('it does not come about');
    await turn();
  }
}

/** Connections to a server that answers everything, and closes behind that where `closes`; timers are the test's. */
async function connections(t: TestContext, change: object = {}) {
  t.mock.timers.reset();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const sockets: Socket[] = [];
  const server = { closes: false };
  const listener = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    socket.on('data', () => {
      if (server.closes) socket.end('{"status":0}');
      else socket.write('{"status":0}');
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const settings = nodeConfigSchema.shape.qkd.parse(change);
  const kme = new KmeConnections(JSON_DIALECT, { host: '127.0.0.1', port }, settings);
  t.after(() => {
    kme.stop();
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  const asked = async (times = 1) => {
    const connection = await kme.take(never);
    for (let i = 0; i < times; i++) await connection.request(ASK);
    return connection;
  };
  /** Whether it stays open, once the moment is over in which that may be unknown. */
  const settled = async (connection: AnswerClient<unknown>) => {
    const open = kme.staysOpen(connection);
    if (server.closes) await connection.whenClosed;
    else t.mock.timers.tick(31);
    return open;
  };
  return { kme, sockets, server, port, asked, settled, tick: (ms: number) => t.mock.timers.tick(ms) };
}

describe('connections to a key manager', () => {
  it('are kept for the next call where that is known to work, each for one call at a time', async (t) => {
    const { kme, asked, sockets } = await connections(t, { connection: 'reuse' });
    const [one, two] = [await asked(), await asked()];
    assert.notEqual(one, two);
    kme.giveBack(one);
    await turn();
    assert.equal(await kme.take(never), one);
    const three = await kme.take(never);
    assert.ok(three !== one && three !== two);
    assert.equal(sockets.length, 3);
  });

  it('end with the call where the configuration says so', async (t) => {
    const { kme, asked } = await connections(t, { connection: 'per-call' });
    const one = await asked();
    assert.equal(await kme.staysOpen(one), false);
    kme.giveBack(one);
    await one.whenClosed;
    assert.notEqual(await asked(), one);
  });

  it('are learnt to stay open from the first that does for a moment', async (t) => {
    const { kme, asked, tick } = await connections(t);
    const one = await asked();
    let open: boolean | undefined;
    void kme.staysOpen(one).then((is) => {
      open = is;
    });
    tick(29);
    await turn();
    assert.equal(open, undefined, 'not yet known');
    tick(2);
    await turn();
    assert.equal(open, true);
    const two = await asked();
    assert.equal(await kme.staysOpen(two), true, 'at once from now on');
  });

  it('are learnt to be closed after an answer, and then not waited for', async (t) => {
    const { kme, asked, server, settled } = await connections(t);
    server.closes = true;
    assert.equal(await settled(await asked()), false);
    server.closes = false;
    assert.equal(await kme.staysOpen(await asked()), false);
  });

  it('are not kept when they have been closed already, nor given out when they are closed while idle', async (t) => {
    const { kme, asked, server, sockets } = await connections(t, { connection: 'reuse' });
    const kept = await asked();
    kme.giveBack(kept);
    await turn();
    sockets[0]?.destroy();
    await kept.whenClosed;
    server.closes = true;
    const closed = await asked();
    assert.notEqual(closed, kept);
    await closed.whenClosed;
    assert.equal(await kme.staysOpen(closed), false);
    kme.giveBack(closed);
    await turn();
    assert.ok(![kept, closed].includes(await kme.take(never)));
  });

  it('are kept idle for so long and so many, and left alone once they are taken again', async (t) => {
    const { kme, asked, tick } = await connections(t, { connection: 'reuse' });
    const all: AnswerClient<unknown>[] = [];
    for (let i = 0; i < 10; i++) all.push(await asked());
    for (const connection of all) kme.giveBack(connection);
    await turn();
    assert.equal(all.filter(({ closed }) => closed).length, 2, 'eight are kept');
    const taken = await kme.take(never);
    tick(3_999);
    assert.equal(all.filter(({ closed }) => closed).length, 2);
    tick(1);
    await turn();
    assert.equal(taken.closed, false);
    assert.equal(all.filter(({ closed }) => closed).length, 9);
    assert.ok(!all.includes(await kme.take(never)));
  });

  it('carry requests together only where one has carried several answers, and the window allows it', async (t) => {
    const { kme, asked, settled } = await connections(t);
    kme.window.open();
    for (let i = 0; i < 2; i++) kme.window.succeeded();
    assert.equal(kme.burst(10), 1, 'nothing is known');
    await settled(await asked());
    assert.equal(kme.burst(10), 1, 'one answer proves nothing');
    await settled(await asked(2));
    assert.equal(kme.burst(10), 4);
    assert.equal(kme.burst(3), 3);
    kme.window.shut();
    assert.equal(kme.burst(10), 1);
  });

  it('never carry requests together where each has one call', async (t) => {
    const { kme, asked } = await connections(t, { connection: 'per-call' });
    kme.window.open();
    kme.window.succeeded();
    await kme.staysOpen(await asked(2));
    assert.equal(kme.burst(10), 1);
  });

  it('are learnt anew when one is lost that had carried answers', async (t) => {
    const { kme, asked, settled, server } = await connections(t);
    kme.window.open();
    kme.window.succeeded();
    const one = await asked(2);
    await settled(one);
    assert.equal(kme.burst(10), 2);
    assert.equal(kme.lost(await asked(0)), false, 'it had never answered');
    assert.equal(kme.burst(10), 2);
    assert.equal(kme.lost(one), true);
    assert.equal(kme.burst(10), 1);
    const anew = await asked();
    assert.equal(await settled(anew), true);
    assert.equal(kme.burst(10), 1, 'one answer proves nothing again');
    assert.equal(await settled(await asked(2)), true);
    assert.equal(kme.burst(10), 2);
    assert.equal(kme.lost(anew), true);
    server.closes = true;
    assert.equal(await settled(await asked()), false, 'it is learnt anew');
  });

  it('are known to be closed late where one is lost after its first answer', async (t) => {
    const { kme, asked, settled } = await connections(t);
    const one = await asked();
    assert.equal(await settled(one), true);
    assert.equal(kme.lost(one), true);
    assert.equal(await kme.staysOpen(await asked()), false);
  });

  it('are not learnt about where the configuration says what they are', async (t) => {
    const { kme, asked } = await connections(t, { connection: 'reuse' });
    kme.window.open();
    kme.window.succeeded();
    const one = await asked(2);
    await kme.staysOpen(one);
    assert.equal(kme.lost(one), true);
    assert.equal(await kme.staysOpen(one), true);
    assert.equal(kme.burst(10), 2);
  });

  it('are no excuse to send a request again where part of its answer has come', async (t) => {
    const { kme, asked, sockets } = await connections(t, { connection: 'reuse' });
    const one = await asked();
    const lost = one.request(Buffer.alloc(0));
    sockets[0]?.end('{"sta');
    await assert.rejects(lost);
    assert.equal(kme.lost(one), false);
  });

  it('have their turns, so many at a time', async (t) => {
    const { kme } = await connections(t);
    const held = Promise.withResolvers<string>();
    let running = 0;
    const work = () => {
      running += 1;
      return held.promise;
    };
    const first = Array.from({ length: 64 }, () => kme.inTurn(never, work));
    const gone = new AbortController();
    const late = kme.inTurn(gone.signal, work);
    await turn();
    assert.equal(running, 64);
    gone.abort();
    await assert.rejects(late, (error) => unavailable(error) && /free in time/.test(String(error)));
    held.resolve('done');
    assert.deepEqual(await Promise.all(first), new Array(64).fill('done'));
    assert.equal(await kme.inTurn(never, work), 'done');
  });

  it('let what fails in its turn say so itself', async (t) => {
    const { kme } = await connections(t);
    const thrown = new Error('as the test says');
    await assert.rejects(
      kme.inTurn(never, () => Promise.reject(thrown)),
      thrown,
    );
    const reason = new KeyweaveError('QKD_OUT_OF_STEP', 'as the test says');
    const gone = AbortSignal.abort(reason);
    await assert.rejects(
      kme.inTurn(gone, async () => ''),
      reason,
    );
  });

  it('fail in words where nobody listens, and at once where the caller has gone', async (t) => {
    const { kme, port, sockets } = await connections(t);
    const nowhere = new KmeConnections(
      JSON_DIALECT,
      { host: '127.0.0.1', port: 1 },
      nodeConfigSchema.shape.qkd.parse({}),
    );
    await assert.rejects(
      nowhere.take(never),
      (error) => unavailable(error) && /127\.0\.0\.1:1 cannot be reached/.test(String(error)),
    );
    const reason = new Error('gone');
    await assert.rejects(
      kme.take(AbortSignal.abort(reason)),
      (error) =>
        unavailable(error) && (error as Error).cause === reason && String(error).includes(`:${port}`),
    );
    await turn();
    assert.equal(sockets.length, 0);
    const leaving = new AbortController();
    const dialled = kme.take(leaving.signal);
    leaving.abort(reason);
    await assert.rejects(dialled, (error) => (error as Error).cause === reason);
    // One that is made later tells that the server has seen all that came before.
    const later = await kme.take(never);
    await later.request(ASK);
    await until(() => sockets.filter(({ closed }) => !closed).length === 1);
    const made = new AbortController();
    const connection = await kme.take(made.signal);
    made.abort();
    assert.equal(connection.closed, false, 'the signal is for the making alone');
  });

  it('end all at once when it is stopped: idle, in use, and those that are being made', async (t) => {
    const { kme, asked, sockets } = await connections(t, { connection: 'reuse' });
    const [idle, used] = [await asked(), await asked()];
    kme.giveBack(idle);
    await turn();
    const dialled = kme.fresh(never);
    kme.stop();
    assert.deepEqual([idle.closed, used.closed], [true, true]);
    assert.equal((await dialled).closed, true);
    await assert.rejects(kme.take(never), unavailable);
    kme.giveBack(used);
    await until(() => sockets.length === 3 && sockets.every(({ closed }) => closed));
  });

  it('are held neither when they have ended, nor by the signal that they were made under', async (t) => {
    const { kme, asked } = await connections(t, { connection: 'reuse' });
    const one = await asked();
    one.destroy();
    await one.whenClosed;
    await turn();
    const destroy = t.mock.method(one, 'destroy');
    kme.stop();
    assert.equal(destroy.mock.callCount(), 0);
    const signal = new AbortController().signal;
    const { kme: other } = await connections(t, { connection: 'reuse' });
    await other.fresh(signal);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    const nowhere = new KmeConnections(
      JSON_DIALECT,
      { host: '127.0.0.1', port: 1 },
      nodeConfigSchema.shape.qkd.parse({}),
    );
    await assert.rejects(nowhere.fresh(signal), unavailable);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });

  it('are not kept when they are given back after the end', async (t) => {
    const { kme, asked } = await connections(t, { connection: 'reuse' });
    const one = await asked();
    kme.giveBack(one);
    kme.stop();
    await turn();
    assert.equal(one.closed, true);
  });

  it('are not begun with files that are no certificates, and the key says which setting is meant', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'keyweave-qkd-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'file');
    writeFileSync(file, 'no certificate');
    for (const tls of [
      { ca_path: join(folder, 'missing') },
      { ca_path: file, cert_path: file, key_path: file },
    ]) {
      const settings = nodeConfigSchema.shape.qkd.parse({ tls });
      assert.throws(
        () => new KmeConnections(JSON_DIALECT, { host: '127.0.0.1', port: 1 }, settings),
        (error) => isReason(error, 'BAD_CONFIG') && /qkd\.tls: /.test(String(error)),
      );
    }
  });

  it('to a host that is no host name fail like any other', async () => {
    const settings = nodeConfigSchema.shape.qkd.parse({});
    const nowhere = new KmeConnections(JSON_DIALECT, { host: '127.0.0.1', port: 65_536 }, settings);
    await assert.rejects(nowhere.take(never), unavailable);
  });
});
