import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { text as streamText } from 'node:stream/consumers';
import { before, describe, it, type TestContext } from 'node:test';
import { keyOf, openData, openPair, type Pair, twoNodes } from '../helpers/network.ts';
import { rssMb } from '../helpers/proc.ts';

const MIB = 1024 * 1024;
const FLOODS = {
  requests: JSON.stringify({ command: 'CLOSE', data: { key_stream_id: randomUUID() } }),
  'empty texts': '[]',
  'unknown commands': '{"command":"X"}',
};

const { network, alice, bob } = await twoNodes();
let pair: Pair;
let gateway: number;

before(async () => {
  gateway = alice.services.gateway?.pid ?? 0;
  pair = await openPair(network, openData(alice, bob));
  await askAtA(1_000);
});

/** Asks at the node under attack, again and again; what that cost at worst, and the gateway's largest memory. */
async function askAtA(count: number): Promise<{ slowestMs: number; rssMb: number }> {
  const worst = { slowestMs: 0, rssMb: 0 };
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    keyOf(await pair.a.getKey(pair.ksid));
    worst.slowestMs = Math.max(worst.slowestMs, performance.now() - started);
    worst.rssMb = Math.max(worst.rssMb, rssMb(gateway));
    // The other end keeps step, so that its buffer never fills.
    keyOf(await pair.b.getKey(pair.ksid));
  }
  return worst;
}

/** A connection whose end reads nothing. */
function deafSocket(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(alice.json.port, alice.json.host, () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => undefined);
    socket.pause();
  });
}

function filled(text: string, bytes: number): Buffer {
  return Buffer.alloc(Math.floor(bytes / text.length) * text.length, text);
}

/**
 * What an attack costs the gateway in memory, and another client in time. The
 * machine may be busy with other things: what it costs without an attack is
 * allowed for, and what holds others up does so each of the three times.
 *
 * @param attack begins it; gives what ends it.
 */
async function costOf(
  t: TestContext,
  attack: () => Promise<() => unknown>,
  limits: { moreMb: number },
): Promise<void> {
  // The first one makes the gateway's heap as large as it will be.
  await (await attack())();
  const before = await askAtA(200);
  const slowestMs: number[] = [];
  let moreMb = 0;
  for (let i = 0; i < 3; i++) {
    const stop = await attack();
    const during = await askAtA(200);
    await stop();
    slowestMs.push(during.slowestMs);
    moreMb = Math.max(moreMb, during.rssMb - before.rssMb);
  }
  t.diagnostic(
    `${moreMb.toFixed(1)} MB more; slowest ${slowestMs.map((ms) => ms.toFixed(1)).join(', ')} ms, without ${before.slowestMs.toFixed(1)} ms`,
  );
  assert.ok(moreMb < limits.moreMb, `${moreMb} MB more`);
  assert.ok(
    Math.min(...slowestMs) < 100 + before.slowestMs,
    `another client waited ${slowestMs} ms, without it ${before.slowestMs}`,
  );
}

describe('a client that sends and does not read costs little memory and holds up nobody', () => {
  for (const [what, text] of Object.entries(FLOODS)) {
    it(`7 MiB of ${what}`, async (t) => {
      const attack = async () => {
        const socket = await deafSocket();
        socket.write(filled(text, 7 * MIB));
        return () => socket.destroy();
      };
      await costOf(t, attack, { moreMb: 30 });
    });
  }

  it('20 of them at once', async (t) => {
    const attack = async () => {
      const sockets = await Promise.all(Array.from({ length: 20 }, deafSocket));
      for (const socket of sockets) socket.write(filled(FLOODS['unknown commands'], MIB));
      return () => sockets.forEach((socket) => void socket.destroy());
    };
    await costOf(t, attack, { moreMb: 30 });
  });

  it('50 OPEN_CONNECTs that wait, with 64 KiB behind each', async (t) => {
    const attack = async () => {
      const sockets = await Promise.all(Array.from({ length: 50 }, deafSocket));
      for (const socket of sockets) {
        const data = openData(alice, bob, undefined, { timeout: 60_000 });
        socket.write(JSON.stringify({ command: 'OPEN_CONNECT', data }));
        socket.write(filled('[]', 65_536));
      }
      return () => sockets.forEach((socket) => void socket.destroy());
    };
    await costOf(t, attack, { moreMb: 20 });
  });
});

describe('garbage', () => {
  for (const [what, text] of [
    ['lines', 'x\n'],
    ['one line', 'x'],
    ['brackets that never open', '}\n'],
  ] as const) {
    it(`16 MiB of ${what} are answered once, and the connection ends`, async (t) => {
      const attack = async () => {
        const socket = await deafSocket();
        socket.end(filled(text, 16 * MIB));
        return async () => {
          const answers = await streamText(socket);
          assert.deepEqual(JSON.parse(answers), { status: 1, message: 'Invalid JSON received' });
        };
      };
      await costOf(t, attack, { moreMb: 30 });
    });
  }
});
