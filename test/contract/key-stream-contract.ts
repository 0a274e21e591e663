import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after, describe, it, type TestContext } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import {
  type ClientOptions,
  type ClientTls,
  createClient,
  type DeliveredKey,
  type KeyStream,
  type KeyStreamClient,
  KeyStreamError,
  type KeyStreamErrorCode,
  type OpenOptions,
  type TransportName,
} from '../../services/client/main.ts';

/** Two nodes by one of their listeners, as an application of each reaches them. */
export interface TwoEnds {
  readonly transport: TransportName;
  /** The source's node and the destination's. */
  readonly addresses: readonly [Address, Address];
  readonly uuids: readonly [string, string];
  readonly tls: ClientTls;
  /** The same trust for another application, and for none. */
  readonly strangerTls: ClientTls;
  readonly nobodyTls: ClientTls;
}

/** Reached the same way, whatever stands between. */
interface Way {
  readonly port: number;
  /** Breaks every connection off; new ones get through. */
  cut(): void;
}

/** Timeout of the streams: a machine that has a lot to do makes nodes wait long. */
const PATIENCE_MS = 60_000;
const RATE_OF_ONE_KEY_A_SECOND_BPS = 256;

/** What a client promises over every transport of a node. */
export function keyStreamContract(ends: TwoEnds): void {
  const { transport, addresses, uuids, tls } = ends;
  const closing: (() => void)[] = [];
  after(() => {
    for (const close of closing) close();
  });

  async function client(end: 0 | 1, more: Partial<ClientOptions> = {}): Promise<KeyStreamClient> {
    const made = await createClient({ transport, ...addresses[end], tls, ...more });
    closing.push(() => made.end());
    return made;
  }

  function wish(more: Partial<OpenOptions> = {}): OpenOptions {
    const app = `app-${randomUUID()}`;
    const query = 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD';
    const [source, destination] = uuids.map((uuid) => `hybrid://${app}@${uuid}?${query}`) as [string, string];
    return { source, destination, ...more, qos: { timeoutMs: PATIENCE_MS, ...more.qos } };
  }

  async function pair(
    more: Partial<OpenOptions> = {},
    clients?: readonly [KeyStreamClient, KeyStreamClient],
  ): Promise<[KeyStream, KeyStream]> {
    const [a, b] = clients ?? (await Promise.all([client(0), client(1)]));
    const said = wish(more);
    return Promise.all([a.open(said), b.open(said)]);
  }

  const same = (a: DeliveredKey, b: DeliveredKey) => {
    assert.equal(a.index, b.index);
    assert.deepEqual(a.key.expose(), b.key.expose());
    assert.ok(a.key.expose().some((byte) => byte !== 0));
    a.wipe();
    b.wipe();
  };

  async function way(t: TestContext, { host, port }: Address): Promise<Way> {
    const sockets = new Set<Socket>();
    const proxy = createServer((near) => {
      const far = connect(port, host);
      for (const socket of [near, far]) {
        sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      near.pipe(far).pipe(near);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const cut = () => {
      for (const socket of sockets) socket.destroy();
    };
    t.after(() => {
      proxy.close();
      cut();
    });
    return { port: (proxy.address() as { port: number }).port, cut };
  }

  describe(`streams over ${transport}`, () => {
    it('give both ends the same keys, in order and by index', async () => {
      const [a, b] = await pair();
      assert.equal(a.ksid, b.ksid);
      assert.equal(a.qos.keyChunkSize, 32);
      for (let i = 0; i < 20; i++) same(await a.next(), await b.next());
      same(await a.at(a.position + 3), await b.at(b.position + 3));
      assert.equal((await a.next()).index, a.position - 1);
      const { metadata } = await b.next();
      assert.deepEqual([metadata.hops, typeof metadata.age], [0, 'number']);
      await Promise.all([a.close(), b.close()]);
    });

    it('are joined by their KSID', async () => {
      const ksid = randomUUID();
      const [a, b] = await pair({ ksid });
      assert.deepEqual([a.ksid, b.ksid], [ksid, ksid]);
      same(await a.next(), await b.next());
      await Promise.all([a.close(), b.close()]);
    });

    it('outlive their connections: keys go on, by index', async (t) => {
      const through = await way(t, addresses[0]);
      const a = await client(0, {
        ...{ host: '127.0.0.1', port: through.port },
        tls: { ...tls, serverName: addresses[0].host },
      });
      const [one, other] = await pair({}, [a, await client(1)]);
      for (let round = 0; round < 5; round++) {
        const key = await one.next();
        same(key, await other.at(key.index));
        through.cut();
      }
      // One that breaks off while the node may be answering.
      const waiting = one.next();
      setImmediate(through.cut);
      const key = await waiting;
      same(key, await other.at(key.index));
      assert.ok(key.index <= 5 + one.lostAnswers, `index ${key.index} with ${one.lostAnswers} lost`);
      await Promise.all([one.close(), other.close()]);
    });

    it('are resumed by another client of the same application', async () => {
      const [a, b] = await pair();
      same(await a.next(), await b.next());
      const again = (await client(0)).resume(JSON.parse(JSON.stringify(a.detach())));
      same(await again.next(), await b.next());
      await Promise.all([again.close(), b.close()]);
    });

    it('find back into step where one end was refused', async () => {
      const [a, b] = await pair();
      // This end has a key that the other one, for whatever reason, has not.
      for (let i = 0; i < 3; i++) (await a.next()).wipe();
      const behind = b.position;
      assert.ok(behind < a.position);
      await assert.rejects(a.at(0), code('INSUFFICIENT_KEY'));
      const together = Math.max(a.position, b.position);
      a.skipTo(together);
      b.skipTo(together);
      for (let i = 0; i < 3; i++) same(await a.next(), await b.next());
      await Promise.all([a.close(), b.close()]);
    });

    it('end for the other end once what was confirmed has been read', async () => {
      const [a, b] = await pair();
      same(await a.next(), await b.next());
      await a.close();
      await assert.rejects(
        (async () => {
          for (;;) (await b.next()).wipe();
        })(),
        code('PEER_APPLICATION_NOT_CONNECTED'),
      );
      await b.close();
      await assert.rejects(b.next(), code('CLOSED'));
    });

    it('give a waiting call up at its signal, and go on', async () => {
      // One key a second: the second has to be waited for.
      const [a, b] = await pair({ qos: { maxBps: RATE_OF_ONE_KEY_A_SECOND_BPS } });
      same(await a.next(), await b.next());
      await assert.rejects(a.next({ signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
      const key = await a.next();
      same(key, await b.at(key.index));
      await Promise.all([a.close(), b.close()]);
    });

    it('tell what could not be met as it was asked', async () => {
      const [a, b] = await pair({ qos: { keyChunkSize: 48, timeoutMs: PATIENCE_MS }, ...xoring(uuids) });
      for (const stream of [a, b]) {
        assert.equal(stream.qos.keyChunkSize, 32);
        assert.match(stream.adjusted ?? '', /48 cannot be given, 32 can/);
      }
      same(await a.next(), await b.next());
      await Promise.all([a.close(), b.close()]);
    });

    it('are refused with status, name and remedy', async () => {
      const ksid = randomUUID();
      const [a, b] = await pair({ ksid });
      const said = { source: `hybrid://x@${uuids[0]}`, destination: `hybrid://x@${uuids[1]}` };
      for (const [asked, wanted] of [
        [{ ...wish(), ksid }, ['KSID_IN_USE']],
        [{ ...said, source: 'x' }, ['NO_QKD_CONNECTION']],
        [{ ...said, source: `${said.source}?hybridization=none` }, ['QOS_NOT_MET', 'NO_QKD_CONNECTION']],
      ] as const) {
        await assert.rejects((await client(0)).open(asked), (thrown) => {
          assert.ok(thrown instanceof KeyStreamError, String(thrown));
          assert.ok((wanted as readonly string[]).includes(thrown.code), thrown.message);
          assert.equal(thrown.call, 'OPEN_CONNECT');
          assert.match(
            thrown.message,
            new RegExp(`^OPEN_CONNECT was answered with status ${thrown.status}: .`),
          );
          assert.notEqual(thrown.remedy, '');
          return true;
        });
      }
      await Promise.all([a.close(), b.close()]);
      await assert.rejects((await client(0)).resume({ ...a, qos: a.qos, position: 1 }).next(), (thrown) =>
        code('PEER_APPLICATION_NOT_CONNECTED')(thrown),
      );
    });

    it('belong to the application that opened them', async () => {
      const [a, b] = await pair();
      const stranger = await client(0, { tls: ends.strangerTls });
      const stolen = stranger.resume({ ksid: a.ksid, qos: a.qos, position: 1 });
      await assert.rejects(stolen.next(), code('PEER_APPLICATION_NOT_CONNECTED'));
      await Promise.all([a.close(), b.close()]);
    });

    it('are not opened at a node whose certificate is another, nor by nobody', async () => {
      const [quick] = [{ retry: { forMs: 2_000 } }];
      for (const [what, refused] of [
        ['another name', { ...tls, serverName: 'eve' }],
        ['no certificate', ends.nobodyTls],
      ] as const)
        await assert.rejects((await client(0, { tls: refused, ...quick })).open(wish()), (thrown) => {
          assert.ok(thrown instanceof KeyStreamError, String(thrown));
          assert.ok(
            ['TLS_FAILED', 'UNREACHABLE', 'CONNECTION_LOST'].includes(thrown.code),
            `${what}: ${thrown}`,
          );
          return true;
        });
    });
  });
}

/** A method that gives 32 bytes and no more. */
function xoring(uuids: readonly [string, string]): Pick<OpenOptions, 'source' | 'destination'> {
  const app = `app-${randomUUID()}`;
  const [source, destination] = uuids.map(
    (uuid) => `hybrid://${app}@${uuid}?hybridization=xoring&key_sources=ML-KEM-768,QKD`,
  ) as [string, string];
  return { source, destination };
}

function code(wanted: KeyStreamErrorCode): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof KeyStreamError, String(thrown));
    assert.equal(thrown.code, wanted, thrown.message);
    return true;
  };
}
