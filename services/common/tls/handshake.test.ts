import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer as createTcp, type Server, connect as tcpConnect } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, it, mock } from 'node:test';
import {
  type ConnectionOptions,
  createServer as createTls,
  type TlsOptions,
  connect as tlsConnect,
} from 'node:tls';
import { createServer as createGrpc } from 'nice-grpc';
import { issueFor } from '#certs/ensure.ts';
import { issueServiceCertificate } from '#certs/issue.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { healthService } from '#common/service/health.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { loadTlsIdentity, type TlsIdentityOptions } from '#common/tls/identity.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { ALICE, BOB, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';

const HYBRIDIZER = `spiffe://keyweave/node/${ALICE}/hybridizer`;

let certificates: TestCertificates;
/** A CA that calls itself the same and is another one. */
let foreign: TestCertificates;
before(async () => {
  [certificates, foreign] = await Promise.all([testCertificates(), testCertificates()]);
});
after(() => {
  certificates.remove();
  foreign.remove();
});

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function filesOf(of: TestCertificates, service: string) {
  const config = of.config(ALICE);
  await issueFor(config, service, 1);
  return certificateFiles(config, service);
}

async function identityOf(service: string, change: Partial<TlsIdentityOptions> = {}, of = certificates) {
  const identity = loadTlsIdentity({ ...(await filesOf(of, service)), log: silentLog, ...change });
  cleanups.push(() => identity.close());
  return identity;
}

/** PEMs for a raw end of TLS. */
async function pemsOf(service: string, of = certificates) {
  const { caPath, certPath, keyPath } = await filesOf(of, service);
  return { ca: readFileSync(caPath), cert: readFileSync(certPath), key: readFileSync(keyPath) };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A raw TLS server with the hybridizer's certificate. */
async function tlsServer(change: TlsOptions = {}, of = certificates): Promise<number> {
  const server = createTls({ ...(await pemsOf('hybridizer', of)), ALPNProtocols: ['h2'], ...change });
  server.on('tlsClientError', () => undefined);
  server.on('secureConnection', (socket) => socket.on('error', () => undefined));
  return listening(server);
}

interface Connector {
  connect(socket: object): Promise<{
    socket: { destroy(): void; getProtocol(): string | null; servername?: string };
    secure: boolean;
  }>;
  waitForReady(): Promise<void>;
}

/** Dials as the gateway; resolves to the secured connection. */
async function dial(
  port: number,
  expected = HYBRIDIZER,
  change: Partial<TlsIdentityOptions> = {},
  options = {},
) {
  const credentials = (await identityOf('gateway', change)).channelCredentials(expected);
  const connector = credentials._createSecureConnector(undefined as never, options) as unknown as Connector;
  await connector.waitForReady();
  const socket = tcpConnect(port, '127.0.0.1');
  cleanups.push(() => socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return connector.connect(socket);
}

describe('dialling a service', () => {
  it('succeeds where it presents what is expected: TLS 1.3, secure, under the given name', async () => {
    const names: string[] = [];
    const port = await tlsServer({
      SNICallback: (name, done) => {
        names.push(name);
        done(null);
      },
    });
    for (const options of [{}, { 'grpc.ssl_target_name_override': 'hybridizer' }]) {
      const { socket, secure } = await dial(port, HYBRIDIZER, {}, options);
      assert.deepEqual([secure, socket.getProtocol()], [true, 'TLSv1.3']);
      socket.destroy();
    }
    assert.deepEqual(names, ['keyweave', 'hybridizer']);
  });

  it('fails where it is somebody else, who is named', async () => {
    const port = await tlsServer();
    const expected = `spiffe://keyweave/node/${BOB}/hybridizer`;
    await assert.rejects(dial(port, expected), new RegExp(`the server is ${HYBRIDIZER}, not ${expected}`));
  });

  it('fails where its certificate names nobody', async () => {
    // Of the right CA, with a URI that is not of our form.
    const named = { network: 'keyweave', nodeUuid: ALICE, service: 'NOBODY', names: [], days: 1 };
    const { certificate, key } = await issueServiceCertificate({ ca: certificates.ca, ...named });
    const port = await tlsServer({ cert: certificate, key });
    await assert.rejects(dial(port), new RegExp(`the server is nobody, not ${HYBRIDIZER}`));
  });

  it('fails where its certificate is of another CA, whatever it says', async () => {
    const port = await tlsServer({}, foreign);
    await assert.rejects(dial(port), /self-signed|signature|issuer|certificate/i);
  });

  it('fails with TLS 1.2, and with any other key exchange', async () => {
    await assert.rejects(dial(await tlsServer({ maxVersion: 'TLSv1.2' })));
    await assert.rejects(dial(await tlsServer({ ecdhCurve: 'X25519' })));
  });

  it('fails at once where the other end hangs up', async () => {
    const server = createTcp((socket) => {
      socket.on('error', () => undefined);
      socket.end();
    });
    const port = await listening(server);
    await assert.rejects(dial(port), /closed during the TLS handshake|disconnected|ECONNRESET/);
  });

  it('fails in time where the other end says nothing, and hangs up', async () => {
    const hungUp = Promise.withResolvers<void>();
    const server = createTcp((socket) =>
      socket
        .on('error', () => undefined)
        .on('close', () => hungUp.resolve())
        .resume(),
    );
    const port = await listening(server);
    await assert.rejects(dial(port, HYBRIDIZER, { handshakeLimitMs: 50 }), /TLS handshake timed out/);
    await hungUp.promise;
  });

  it('holds no timer over a connection that stands', async () => {
    const port = await tlsServer();
    const { socket } = await dial(port, HYBRIDIZER, { handshakeLimitMs: 200 });
    const closed = once(socket as never, 'close').then(() => 'closed');
    const later = new Promise((resolve) => setTimeout(resolve, 300, 'stands'));
    assert.equal(await Promise.race([closed, later]), 'stands');
    socket.destroy();
  });
});

describe('serving', () => {
  /** A gRPC server of ours; `reach` completes a handshake and learns whether it is kept. */
  async function serve(change: Partial<TlsIdentityOptions> = {}) {
    const identity = await identityOf('hybridizer', change);
    const grpc = createGrpc();
    const readiness = { problems: async () => [] };
    grpc.add(
      HealthDefinition,
      healthService({ names: [], readiness, stopping: new AbortController().signal }),
    );
    const port = await grpc.listen('127.0.0.1:0', identity.serverCredentials());
    cleanups.push(() => grpc.forceShutdown());
    return port;
  }

  /** Whether a client with these options gets as far as being spoken to over HTTP/2. */
  async function reach(port: number, options: ConnectionOptions): Promise<'heard' | 'refused'> {
    const socket = tlsConnect({
      port,
      host: '127.0.0.1',
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
      ...options,
    });
    cleanups.push(() => socket.destroy());
    const { promise, resolve } = Promise.withResolvers<'heard' | 'refused'>();
    socket.on('error', () => resolve('refused')).on('close', () => resolve('refused'));
    socket.on('data', () => resolve('heard'));
    return promise;
  }

  it('takes TLS 1.3 with the hybrid key exchange and a certificate of the CA, and nothing less', async () => {
    const port = await serve();
    const pems = await pemsOf('gateway');
    const { ca } = pems;
    const group = { ecdhCurve: 'X25519MLKEM768' };
    assert.equal(await reach(port, { ...pems, ...group }), 'heard');
    assert.equal(await reach(port, { ca, ...group }), 'refused', 'without a certificate');
    const strange = { ...(await pemsOf('gateway', foreign)), ca };
    assert.equal(await reach(port, { ...strange, ...group }), 'refused', 'with a certificate of another CA');
    assert.equal(await reach(port, { ...pems, ecdhCurve: 'X25519:P-256' }), 'refused', 'with X25519');
    assert.equal(await reach(port, { ...pems, maxVersion: 'TLSv1.2' }), 'refused', 'with TLS 1.2');
  });

  it('hangs up on a client that says nothing', async () => {
    const port = await serve({ handshakeLimitMs: 50 });
    const socket = tcpConnect(port, '127.0.0.1')
      .on('error', () => undefined)
      .resume();
    await once(socket, 'close');
  });
});

describe('the files of an identity', () => {
  /** The identity of files in a folder of their own, looked at when the clock is moved. */
  async function watched(t: { after(done: () => void): void }) {
    mock.timers.enable({ apis: ['setInterval'] });
    t.after(() => mock.timers.reset());
    const lines: string[] = [];
    const note = (message: string) => void lines.push(message);
    const log: Log = { debug: note, info: note, warning: note, error: note };
    const files = await filesOf(certificates, 'qkd-source');
    const identity = loadTlsIdentity({ ...files, log });
    const renew = () => issueFor(certificates.config(ALICE), 'qkd-source', 2);
    return { files, identity, lines, renew };
  }

  it('are looked at every two seconds, and taken where they are sound', async (t) => {
    const { identity, lines, renew } = await watched(t);
    const before = identity.notAfterMs;
    assert.equal(identity.spiffeId, `spiffe://keyweave/node/${ALICE}/qkd-source`);
    await renew();
    mock.timers.tick(1_999);
    assert.equal(identity.notAfterMs, before);
    mock.timers.tick(1);
    // A day, and what has passed between the two, in whole seconds.
    const later = identity.notAfterMs - before;
    assert.ok(later >= 86_400_000 && later < 86_460_000, `${later} ms`);
    assert.deepEqual(lines, ['certificate reloaded']);
    mock.timers.tick(10_000);
    assert.equal(lines.length, 1, 'the same files were loaded again');
    identity.close();
  });

  it('that are not sound are refused once, until they change again', async (t) => {
    const { files, identity, lines, renew } = await watched(t);
    const before = identity.notAfterMs;
    writeFileSync(files.certPath, 'half a certificate');
    mock.timers.tick(10_000);
    assert.deepEqual([lines.length, identity.notAfterMs], [1, before]);
    await renew();
    mock.timers.tick(2_000);
    assert.ok(identity.notAfterMs > before);
    identity.close();
  });

  it('that are gone are waited for', async (t) => {
    const { files, identity, lines } = await watched(t);
    const { rmSync } = await import('node:fs');
    rmSync(files.keyPath);
    mock.timers.tick(4_000);
    assert.equal(lines.length, 1);
    identity.close();
  });

  it('are looked at no more once it is closed', async (t) => {
    const { identity, lines, renew } = await watched(t);
    identity.close();
    await renew();
    mock.timers.tick(10_000);
    assert.deepEqual(lines, []);
  });

  it('must name somebody of ours, in one piece', () => {
    const [certPath, keyPath] = [join(certificates.folder, 'ca.crt'), join(certificates.folder, 'ca.key')];
    assert.throws(
      () => loadTlsIdentity({ caPath: certPath, certPath, keyPath, log: silentLog }),
      (error: Error) =>
        isReason(error, 'BAD_CONFIG') && /ca\.crt: .*no SPIFFE id of ours/.test(error.message),
    );
  });
});

describe('credentials', () => {
  it('equal themselves alone, so that channels of different targets are never shared', async () => {
    const identity = await identityOf('gateway');
    const [one, two] = [identity.channelCredentials(HYBRIDIZER), identity.channelCredentials(HYBRIDIZER)];
    assert.deepEqual([one._equals(one), one._equals(two), one._isSecure()], [true, false, true]);
    const [first, second] = [identity.serverCredentials(), identity.serverCredentials()];
    assert.deepEqual([first._equals(first), first._equals(second)], [true, false]);
  });

  it('of a server take the new certificate when it comes', async (t) => {
    mock.timers.enable({ apis: ['setInterval'] });
    t.after(() => mock.timers.reset());
    const identity = await identityOf('gateway');
    const server = identity.serverCredentials();
    const taken: unknown[] = [];
    server._addWatcher((context) => void taken.push((context as { cert?: Buffer } | null)?.cert));
    await issueFor(certificates.config(ALICE), 'gateway', 2);
    mock.timers.tick(2_000);
    const { certPath } = certificateFiles(certificates.config(ALICE), 'gateway');
    assert.deepEqual(taken.at(-1), readFileSync(certPath));
  });
});
