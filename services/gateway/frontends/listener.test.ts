import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { connect as connectTls, type TlsOptions, type Server as TlsServer } from 'node:tls';
import { createCa, type PemPair } from '#certs/issue.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { clientCertificate } from '#test/helpers/client-certificate.ts';
import type { Owner } from '../streams/owner.ts';
import { type Connection, Listener, type ListenerOptions } from './listener.ts';

let ca: PemPair;
let own: PemPair;
let app: PemPair;
let nobody: PemPair;

before(async () => {
  ca = await createCa({ network: 'test', days: 1 });
  own = await clientCertificate(ca, { subject: 'CN=gateway', names: [{ type: 'dns', value: 'gateway' }] });
  app = await clientCertificate(ca, {
    subject: 'CN=app',
    names: [{ type: 'url', value: 'spiffe://apps/a' }],
  });
  nobody = await clientCertificate(ca, { subject: 'O=Nobody' });
});

let listener: Listener | undefined;
let clients: Socket[];
let owners: Owner[];
/** What was logged at warning. */
let warnings: string[];
/** Whether the connections end once they are told to finish. */
let finishes: boolean;
let served: Connection[];
/** TLS servers that were handed on. */
let followed: TlsServer[];

const log: Log = { ...silentLog, warning: (message) => warnings.push(message) };

beforeEach(() => {
  [clients, owners, warnings, served, followed, finishes] = [[], [], [], [], [], true];
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  for (const { socket } of served) socket.destroy();
  await listener?.stop();
  listener = undefined;
});

/** Echoes what each client says. */
async function listen(change: Partial<ListenerOptions> = {}): Promise<Listener> {
  listener = await Listener.start({
    address: { host: '127.0.0.1', port: 0 },
    setting: 'some_address',
    tls: 'off',
    tlsOptions: () => serverOptions(own, change.tls === 'mutual'),
    follow: (server) => void followed.push(server),
    limits: { max_connections: 10, shutdown_grace: 5_000 },
    serve: ({ owner, open }) => {
      owners.push(owner);
      const socket = open((data) => socket.write(Buffer.from(data)));
      socket.on('error', () => undefined);
      socket.on('end', () => socket.end());
      const connection = { socket, finish: () => void (finishes && socket.end('bye')) };
      served.push(connection);
      return connection;
    },
    log,
    refusals: { line: (_source, _level, message) => void warnings.push(message) },
    ...change,
  });
  return listener;
}

const serverOptions = (pair: PemPair, mutual: boolean): TlsOptions => ({
  ...{ ca: ca.certificate, cert: pair.certificate, key: pair.key },
  ...{ requestCert: mutual, rejectUnauthorized: mutual, minVersion: 'TLSv1.3' },
});

function tcpClient(): Socket {
  const { port } = (listener as Listener).address;
  const client = connect({ port, host: '127.0.0.1' });
  clients.push(client.on('error', () => undefined));
  return client;
}

function tlsClient(pair?: PemPair) {
  const { port } = (listener as Listener).address;
  const client = connectTls({
    ...{
      port,
      host: '127.0.0.1',
      ca: ca.certificate,
      servername: 'gateway',
      checkServerIdentity: () => undefined,
    },
    ...(pair && { cert: pair.certificate, key: pair.key }),
  });
  clients.push(client.on('error', () => undefined));
  return client;
}

/** When the client is closed, whatever it was closed for. */
function closing(client: Socket): Promise<void> {
  return new Promise((resolve) => client.resume().once('close', () => resolve()));
}

/** What a client gets for what it says. */
async function echo(client: Socket, text = 'hello'): Promise<string> {
  client.write(text);
  const [data] = await once(client, 'data');
  return String(data);
}

describe('a listener without TLS', () => {
  it('tells where it listens, and from where each client calls, who has no identity', async () => {
    const { address } = await listen();
    assert.ok(address.port > 0);
    const client = tcpClient();
    assert.equal(await echo(client), 'hello');
    assert.deepEqual(owners, [{ identity: undefined, address: `127.0.0.1:${client.localPort}` }]);
    assert.deepEqual(warnings, []);
  });

  it('says so where others than this machine can reach it', async () => {
    await listen({ address: { host: '0.0.0.0', port: 0 } });
    assert.deepEqual(warnings, ['keys are served without TLS on an address that is not loopback']);
  });

  it('has no certificate to read, nor to follow', async () => {
    await listen({ tlsOptions: () => assert.fail('it was read') });
    assert.equal(await echo(tcpClient()), 'hello');
    assert.deepEqual(followed, []);
  });

  it('takes no more connections than it may, and says so', async () => {
    await listen({ limits: { max_connections: 2, shutdown_grace: 0 } });
    await Promise.all([echo(tcpClient()), echo(tcpClient())]);
    const refused = tcpClient();
    await closing(refused);
    assert.deepEqual(warnings, ['a connection was refused: limits.max_connections is reached']);
    clients[0]?.destroy();
    await once(served[0]?.socket as Socket, 'close');
    assert.equal(await echo(tcpClient()), 'hello');
  });

  for (const tls of ['off', 'server'] as const) {
    it(`takes so many connections of one network, and then none before one has closed (tls ${tls})`, async () => {
      const limits = { max_connections: 10, max_connections_per_network: 2, shutdown_grace: 0 };
      await listen({ tls, limits });
      const client = () => (tls === 'off' ? tcpClient() : tlsClient());
      const [first, second] = [client(), client()];
      assert.deepEqual([await echo(first), await echo(second)], ['hello', 'hello']);
      await closing(client());
      assert.deepEqual(warnings, ['a connection was refused: limits.max_connections_per_network is reached']);
      assert.equal(served.length, 2);
      const closed = once(served[0]?.socket as Socket, 'close');
      first.end();
      await closed;
      assert.equal(await echo(client()), 'hello');
      assert.equal(await echo(second), 'hello');
    });
  }

  it('is not started on an address that is taken, and names the setting', async (t) => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.after(() => other.close());
    const { port } = other.address() as { port: number };
    await assert.rejects(
      listen({ address: { host: '127.0.0.1', port } }),
      (error) =>
        isReason(error, 'BAD_CONFIG') &&
        String(error).includes(`some_address: cannot listen on 127.0.0.1:${port}`),
    );
  });
});

describe('a listener with TLS', () => {
  it('gives its clients no identity where it asks for no certificate', async () => {
    await listen({ tls: 'server', address: { host: '0.0.0.0', port: 0 } });
    assert.equal(await echo(tlsClient()), 'hello');
    assert.equal(await echo(tlsClient(app)), 'hello');
    assert.deepEqual(
      owners.map(({ identity }) => identity),
      [undefined, undefined],
    );
    assert.deepEqual(warnings, [], 'it is not without TLS');
  });

  it('names them by their certificates where it asks for one', async () => {
    await listen({ tls: 'mutual' });
    assert.equal(await echo(tlsClient(app)), 'hello');
    assert.equal(owners[0]?.identity, 'spiffe://apps/a');
    assert.match(owners[0]?.address ?? '', /^127\.0\.0\.1:\d+$/);
  });

  it('serves none that has no certificate, one of another CA, or one that names nobody', async () => {
    await listen({ tls: 'mutual' });
    const foreign = await clientCertificate(await createCa({ network: 'test', days: 1 }), {
      subject: 'CN=app',
      names: [{ type: 'url', value: 'spiffe://apps/a' }],
    });
    for (const pair of [undefined, foreign, nobody]) {
      const client = tlsClient(pair);
      await closing(client);
    }
    assert.deepEqual(owners, []);
    assert.deepEqual(warnings, ['a client was refused whose certificate names nobody']);
    assert.equal(await echo(tlsClient(app)), 'hello');
  });

  it('hands its server on before it listens, so that it follows its certificate', async () => {
    const renewed = await clientCertificate(ca, { subject: 'CN=renewed' });
    await listen({ tls: 'server' });
    const nameOf = async () => {
      const client = tlsClient();
      await once(client, 'secureConnect');
      return client.getPeerCertificate().subject.CN;
    };
    const first = tlsClient();
    await echo(first);
    assert.equal(await nameOf(), 'gateway');
    followed[0]?.setSecureContext(serverOptions(renewed, false));
    assert.equal(await nameOf(), 'renewed');
    assert.equal(await echo(first, 'still'), 'still');
  });

  it('serves nobody whose connection was ended as soon as it was there', async () => {
    const follow = (server: TlsServer) => void server.on('secureConnection', (socket) => socket.destroy());
    await listen({ tls: 'server', follow });
    await once(
      tlsClient().on('error', () => undefined),
      'close',
    );
    assert.deepEqual(owners, []);
  });

  it('gives up a handshake that takes too long, and others are served meanwhile', async () => {
    await listen({ tls: 'server', handshakeLimitMs: 100 });
    const silent = tcpClient();
    await once(silent, 'connect');
    assert.equal(await echo(tlsClient()), 'hello');
    await closing(silent);
  });
});

describe('stop', () => {
  for (const tls of ['off', 'server'] as const) {
    const client = () => (tls === 'off' ? tcpClient() : tlsClient());

    it(`lets every connection finish, and takes no new one (TLS ${tls})`, async () => {
      const { address, stop } = await listen({ tls });
      const one = client();
      await echo(one);
      const text = textOf(one);
      const stopped = stop.call(listener);
      one.end();
      assert.equal(await text, 'bye');
      await stopped;
      const late = connect(address.port, '127.0.0.1');
      await assert.rejects(once(late, 'connect'), /ECONNREFUSED/);
    });

    it(`cuts those that do not finish within the grace (TLS ${tls})`, async () => {
      finishes = false;
      const { stop } = await listen({ tls, limits: { max_connections: 10, shutdown_grace: 50 } });
      const one = client();
      await echo(one);
      const closed = closing(one);
      await stop.call(listener);
      await closed;
    });
  }

  it('does not wait for a handshake', async () => {
    const { stop } = await listen({ tls: 'server', handshakeLimitMs: 60_000 });
    const silent = tcpClient();
    await once(silent, 'connect');
    // The listener has seen it once it serves one that came later.
    await echo(tlsClient());
    const closed = closing(silent);
    await stop.call(listener);
    await closed;
  });
});
