import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { inspect } from 'node:util';
import { type Dialect, KEY_BYTES, keyOfIndex, type Oddity, oddNode } from '#test/helpers/odd-node.ts';
import {
  type ClientOptions,
  createClient,
  type KeyStream,
  KeyStreamError,
  type KeyStreamErrorCode,
} from './main.ts';

const URIS = { source: 'hybrid://a@x', destination: 'hybrid://a@y' };
const QUICK = { retry: { forMs: 20_000, firstPauseMs: 1, longestPauseMs: 10 } };

async function client(t: TestContext, transport: Dialect, port: number, more: Partial<ClientOptions> = {}) {
  const made = await createClient({ transport, host: '127.0.0.1', port, ...QUICK, ...more });
  t.after(() => made.end());
  return made;
}

/** A stream of a node that is odd in its GET_KEYs. */
async function opened(
  t: TestContext,
  dialect: Dialect,
  odd: (nth: number) => Oddity | undefined,
  more: Partial<ClientOptions> = {},
) {
  const node = await oddNode(t, dialect, (call, nth) => (call === 'GET_KEY' ? odd(nth) : undefined));
  const stream = await (await client(t, dialect, node.port, more)).open(URIS);
  return { node, stream };
}

const code = (wanted: KeyStreamErrorCode) => (thrown: unknown) => {
  assert.ok(thrown instanceof KeyStreamError, String(thrown));
  assert.equal(thrown.code, wanted, thrown.message);
  assert.notEqual(thrown.remedy, '');
  return true;
};

const times = (count: number, odd: Oddity) => (nth: number) => (nth <= count ? odd : undefined);

async function take(stream: KeyStream, index: number): Promise<void> {
  using key = await stream.next();
  assert.equal(key.index, index);
  assert.deepEqual(key.key.expose(), keyOfIndex(index));
}

for (const dialect of ['json', 'binary'] as const) {
  describe(`a client over ${dialect}`, () => {
    it('opens, takes keys in order and by index, and closes, over one connection', async (t) => {
      const { node, stream } = await opened(t, dialect, () => undefined);
      assert.equal(stream.ksid, node.ksid);
      assert.equal(stream.qos.keyChunkSize, KEY_BYTES);
      assert.equal(stream.adjusted, undefined);
      await take(stream, 0);
      using third = await stream.at(2);
      assert.deepEqual([third.index, third.key.expose()], [2, keyOfIndex(2)]);
      assert.deepEqual(third.metadata, { age: 1, hops: 0 });
      await take(stream, 1);
      assert.deepEqual([stream.position, stream.lostAnswers], [2, 0]);
      await stream.close();
      assert.deepEqual(node.seen, [
        ...['1 OPEN_CONNECT', '1 GET_KEY next', '1 GET_KEY 2', '1 GET_KEY next', '1 CLOSE'],
      ]);
      await assert.rejects(stream.next(), code('CLOSED'));
    });

    it('gives calls their turns', async (t) => {
      const { stream } = await opened(t, dialect, () => undefined);
      const keys = await Promise.all([stream.next(), stream.next(), stream.next()]);
      assert.deepEqual(
        keys.map(({ index }) => index),
        [0, 1, 2],
      );
    });

    it('is iterated over until it is closed, and goes on in another loop', async (t) => {
      const { stream } = await opened(t, dialect, () => undefined);
      const seen: number[] = [];
      for await (using key of stream) {
        seen.push(key.index);
        if (seen.length === 2) break;
      }
      for await (using key of stream) {
        seen.push(key.index);
        if (seen.length === 4) await stream.close();
      }
      assert.deepEqual(seen, [0, 1, 2, 3]);
    });

    for (const odd of ['in bytes', 'and closes'] as const)
      it(`takes answers ${odd}, each key once`, async (t) => {
        const { node, stream } = await opened(t, dialect, () => odd);
        for (let i = 0; i < 4; i++) await take(stream, i);
        assert.equal(node.taken.size, 4);
      });

    it('goes on over a new connection where one breaks off before anything was done', async (t) => {
      const { node, stream } = await opened(t, dialect, times(3, 'closes'));
      await take(stream, 0);
      assert.deepEqual(
        node.seen.slice(1),
        [1, 2, 3, 4].map((n) => `${n} GET_KEY next`),
      );
    });

    for (const odd of ['lost', 'half'] as const)
      it(`tells by the index, and by lostAnswers, of a key whose answer was ${odd}`, async (t) => {
        const { stream } = await opened(t, dialect, times(1, odd));
        await take(stream, 1);
        assert.deepEqual([stream.position, stream.lostAnswers], [2, 1]);
        await assert.rejects(stream.at(0), code('INSUFFICIENT_KEY'));
      });

    it('says INSUFFICIENT_KEY of an index whose answer was lost', async (t) => {
      const { stream } = await opened(t, dialect, times(1, 'lost'));
      await assert.rejects(stream.at(5), code('INSUFFICIENT_KEY'));
      await take(stream, 0);
    });

    it('finds back into step by skipping', async (t) => {
      const { node, stream } = await opened(t, dialect, () => undefined);
      await take(stream, 0);
      stream.skipTo(4);
      assert.equal(stream.position, 4);
      await take(stream, 4);
      stream.skipTo(2);
      await take(stream, 5);
      assert.deepEqual([...node.taken], [0, 1, 2, 3, 4, 5]);
      assert.throws(() => stream.skipTo(1_000_000), code('BAD_OPTIONS'));
    });

    it('waits for the other application until its first key, not beyond', async (t) => {
      const refuse = { refuse: 'PEER_APPLICATION_ABSENT' } as const;
      const { node, stream } = await opened(t, dialect, (nth) => (nth === 4 ? undefined : refuse));
      await take(stream, 0);
      await assert.rejects(stream.next(), code('PEER_APPLICATION_NOT_CONNECTED'));
      assert.equal(node.seen.length, 1 + 5);
    });

    it('leaves a refusal to the application, and the stream as it is', async (t) => {
      const { node, stream } = await opened(t, dialect, times(1, { refuse: 'TIMEOUT' }));
      await assert.rejects(stream.next(), (thrown) => {
        assert.ok(thrown instanceof KeyStreamError);
        assert.deepEqual([thrown.call, thrown.status, thrown.code], ['GET_KEY', 6, 'TIMEOUT']);
        assert.equal(thrown.retryable, true);
        assert.match(thrown.message, /^GET_KEY was answered with status 6: ./);
        return true;
      });
      await take(stream, 0);
      assert.equal(node.seen.length, 3);
    });

    for (const [what, odd, wanted] of [
      ['garbage', { instead: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') }, 'WRONG_PROTOCOL'],
      ['an answer to another call', { instead: otherAnswer(dialect) }, 'BAD_ANSWER'],
      ['a flood', { instead: Buffer.alloc(3_000_000, '[') }, 'WRONG_PROTOCOL'],
    ] as const)
      it(`fails with ${wanted} on ${what}, at once and without a word of it`, async (t) => {
        const { node, stream } = await opened(t, dialect, () => odd);
        await assert.rejects(stream.next(), (thrown) => {
          assert.doesNotMatch(inspect(thrown), /HTTP|\[\[\[/);
          return code(wanted)(thrown);
        });
        assert.equal(node.seen.length, 2);
      });

    it('fails on an answer too many, and never takes it for the next one', async (t) => {
      const { stream } = await opened(t, dialect, times(1, 'twice'));
      await take(stream, 0);
      await take(stream, 1);
    });

    it('gives up where no answer comes, and where its patience ends', async (t) => {
      const limits = { limits: { marginMs: 1 }, retry: false } as const;
      const { node, stream } = await opened(t, dialect, () => 'never', limits);
      const quick = await client(t, dialect, node.port, limits);
      const same = quick.resume({ ksid: stream.ksid, qos: { ...stream.qos, timeoutMs: 20 }, position: 0 });
      await assert.rejects(same.next(), code('NO_ANSWER'));
      assert.equal(same.lostAnswers, 1);
    });

    it('ends a call at its signal, with the reason', async (t) => {
      const { node, stream } = await opened(t, dialect, times(1, 'never'));
      const controller = new AbortController();
      const reason = new Error('enough');
      const waiting = stream.next({ signal: controller.signal });
      setTimeout(() => controller.abort(reason), 20);
      await assert.rejects(waiting, reason);
      await take(stream, 0);
      assert.deepEqual(node.seen.slice(1), ['1 GET_KEY next', '2 GET_KEY next']);
    });

    it('closes while a call waits, which fails with CLOSED', async (t) => {
      const { node, stream } = await opened(t, dialect, () => 'never');
      const waiting = assert.rejects(stream.next(), code('CLOSED'));
      await new Promise((turn) => setTimeout(turn, 20));
      await stream.close();
      await waiting;
      assert.equal(node.seen.at(-1), '2 CLOSE');
    });

    it('takes a stream that is gone for closed only where it may have closed it itself', async (t) => {
      const answers: (Oddity | undefined)[] = ['lost', { refuse: 'UNKNOWN_STREAM' }];
      const node = await oddNode(t, dialect, (call, nth) =>
        call === 'CLOSE' ? answers[nth - 1] : undefined,
      );
      await (await (await client(t, dialect, node.port)).open(URIS)).close();
      const other = await oddNode(t, dialect, (call) =>
        call === 'CLOSE' ? { refuse: 'UNKNOWN_STREAM' } : undefined,
      );
      const stream = await (await client(t, dialect, other.port)).open(URIS);
      await assert.rejects(stream.close(), code('PEER_APPLICATION_NOT_CONNECTED'));
      await stream[Symbol.asyncDispose]();
    });

    it('detaches a stream and resumes it where it was', async (t) => {
      const { node, stream } = await opened(t, dialect, () => undefined);
      await take(stream, 0);
      const handle = JSON.parse(JSON.stringify(stream.detach()));
      await assert.rejects(stream.next(), code('CLOSED'));
      await stream.close();
      const again = (await client(t, dialect, node.port)).resume(handle);
      await take(again, 1);
      await again.close();
      assert.deepEqual(node.seen.slice(2), ['2 GET_KEY next', '2 CLOSE']);
    });

    it('asks once where OPEN_CONNECT may have been heard, and as often as it takes where not', async (t) => {
      const node = await oddNode(t, dialect, (_, nth) => (nth === 1 ? 'lost' : undefined));
      const made = await client(t, dialect, node.port);
      await assert.rejects(made.open(URIS), code('CONNECTION_LOST'));
      assert.equal(node.seen.length, 1);
      const nowhere = await client(t, dialect, 1, { retry: { forMs: 50, firstPauseMs: 20 } });
      const began = performance.now();
      await assert.rejects(nowhere.open(URIS), code('UNREACHABLE'));
      assert.ok(performance.now() - began >= 10);
    });

    it('gives up a node that takes connections and says nothing in TLS', async (t) => {
      const sockets: Socket[] = [];
      const silent = createServer((socket) => void sockets.push(socket));
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      t.after(() => {
        silent.close();
        for (const socket of sockets) socket.destroy();
      });
      const { port } = silent.address() as { port: number };
      const made = await client(t, dialect, port, {
        ...{ tls: { ca: Buffer.from('') }, limits: { connectMs: 30 }, retry: false },
      });
      await assert.rejects(made.open(URIS), code('UNREACHABLE'));
    });

    it('never prints a key', async (t) => {
      const { stream } = await opened(t, dialect, () => undefined);
      const key = await stream.next();
      const bytes = key.key.expose().toString('hex');
      for (const text of [inspect(key, { depth: 9, showHidden: true }), JSON.stringify(key), `${key.key}`]) {
        assert.ok(!text.includes(bytes) && !text.includes('1, 1, 1') && !text.includes('01 01 01'), text);
      }
      key.wipe();
      assert.throws(() => key.key.expose(), /wiped/);
    });
  });
}

function otherAnswer(dialect: Dialect): Buffer {
  // Of CLOSE, and of a node that knows no status.
  return dialect === 'json' ? Buffer.from('{"answer":1}') : Buffer.from('010001090000000400000000', 'hex');
}

describe('the options of a client', () => {
  for (const [what, options] of [
    ['a transport that is none', { host: 'x', transport: 'http' as never }],
    ['no host', { host: '' }],
    ['a port that is none', { host: 'x', port: 65_536 }],
    ['a certificate without its key', { host: 'x', tls: { ca: 'ca.crt', cert: 'c.crt' } }],
    ['gRPC without TLS', { host: 'x', transport: 'grpc' }],
    ['a limit that is none', { host: 'x', limits: { connectMs: -1 } }],
    ['a pause that is none', { host: 'x', retry: { firstPauseMs: Number.NaN } }],
  ] as const)
    it(`are refused with ${what}`, () => assert.rejects(createClient(options), code('BAD_OPTIONS')));

  it('name the file that cannot be read, and the certificate that is none', async (t) => {
    const none = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n';
    for (const [tls, words] of [
      [{ ca: '/nowhere/ca.crt' }, /tls\.ca: \/nowhere\/ca\.crt cannot be read \(ENOENT\)/],
      [{ ca: none, cert: none, key: Buffer.from(none) }, /certificates cannot be used/],
    ] as const) {
      const made = await client(t, 'json', 1, { tls });
      await assert.rejects(made.open(URIS), (thrown) => {
        assert.match(String(thrown), words);
        return code('BAD_OPTIONS')(thrown);
      });
    }
  });

  it('and a QoS are refused before anything is sent', async (t) => {
    const node = await oddNode(t, 'json');
    const made = await client(t, 'json', node.port);
    for (const qos of [
      { keyChunkSize: -1 },
      { keyChunkSize: 65_537 },
      { ttlS: 1.5 },
      { metadataMimetype: 'x'.repeat(257) },
    ])
      await assert.rejects(made.open({ ...URIS, qos }), code('BAD_OPTIONS'));
    assert.deepEqual(node.seen, []);
    made.end();
    await assert.rejects(made.open(URIS), code('CLOSED'));
  });
});
