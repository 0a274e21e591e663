import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, it, mock } from 'node:test';
import { type ConnectionOptions, createServer, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { issueFor } from '#certs/ensure.ts';
import { createCa, issueClientCertificate, type PemPair } from '#certs/issue.ts';
import { revoke } from '#certs/revoke.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { appListenerTlsOptions, reloadingTls } from '#common/tls/app-listener.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { loadTlsIdentity, type TlsIdentity } from '#common/tls/identity.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';

let certificates: TestCertificates;
let client: PemPair;
before(async () => {
  certificates = await testCertificates();
  client = await issueClientCertificate({ ca: certificates.ca, network: 'keyweave', name: 'app', days: 1 });
});
after(() => certificates.remove());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const GROUPS = { ecdhCurve: 'X25519MLKEM768:X25519' };

/** A listener whose CA and list are its own; files are looked at every 20 ms. */
async function listener(mutual: boolean) {
  const folder = join(certificates.folder, `listener-${cleanups.length}-${Math.random()}`);
  const config = certificates.config(ALICE);
  await issueFor(config, 'gateway', 1);
  const files = certificateFiles(config, 'gateway');
  const [caPath, crlPath] = [`${folder}-ca.crt`, `${folder}-ca.crl`];
  writeFileSync(caPath, certificates.ca.certificate);
  const ca = { ...certificates.ca, parsed: new X509Certificate(certificates.ca.certificate) };
  const revoked = (...pems: string[]) =>
    revoke({
      ...{ ca, crlPath, reason: 'unspecified', days: 1 },
      certificates: pems.map((pem) => new X509Certificate(pem)),
    });
  await revoked();
  const keeps = Promise.withResolvers<void>();
  const log = {
    ...silentLog,
    warning: (text: string) => text.includes('the old one stays') && keeps.resolve(),
  };
  const identity = loadTlsIdentity({ ...files, caPath, crlPath, log, pollMs: 20 });
  const server = createServer(appListenerTlsOptions(identity, mutual), (socket) => {
    socket.on('error', () => undefined).on('data', (data) => socket.write(data));
  });
  server.on('tlsClientError', () => undefined);
  const ended: string[] = [];
  reloadingTls(server, identity, { warning: (_text, fields) => void ended.push(String(fields?.reason)) });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  cleanups.push(
    () => identity.close(),
    () => server.close(),
  );
  const dial = (options: ConnectionOptions = {}) => connected(port, options);
  const { promise: kept } = keeps;
  return { identity, dial, ended, caPath, revoked, kept, renew: () => issueFor(config, 'gateway', 1) };
}

/** A connection over which the listener has echoed a byte; rejects where it does not. */
async function connected(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = tlsConnect({
    ...{ host: '127.0.0.1', port, ca: certificates.ca.certificate, ...GROUPS },
    ...options,
  });
  cleanups.push(() => socket.destroy());
  const closed = once(socket, 'close').then(() => Promise.reject(new Error('closed')));
  closed.catch(() => undefined);
  socket.on('error', () => undefined);
  await Promise.race([echo(socket), closed]);
  return socket;
}

async function echo(socket: TLSSocket): Promise<void> {
  const answered = once(socket, 'data');
  socket.write('x');
  await answered;
}

const reload = (identity: TlsIdentity) =>
  new Promise<void>((resolve) => {
    const stop = identity.onChange(() => {
      stop();
      resolve();
    });
  });

describe('a TLS listener of applications', () => {
  it('presents the new certificate when the files change, and keeps the connections that are open', async () => {
    const { identity, dial, renew } = await listener(false);
    const open = await dial();
    const first = open.getPeerX509Certificate()?.serialNumber;
    const reloaded = reload(identity);
    await renew();
    await reloaded;
    const second = (await dial()).getPeerX509Certificate()?.serialNumber;
    assert.notEqual(second, first);
    assert.equal(
      second,
      identity.pems.cert && new X509Certificate(identity.pems.cert as Buffer).serialNumber,
    );
    await echo(open);
  });

  it('stays as strict after that: TLS 1.3, its groups, and a client certificate where it is mutual', async () => {
    const { identity, dial, renew } = await listener(true);
    const own = { cert: client.certificate, key: client.key };
    const strict = async () => {
      await dial(own);
      await assert.rejects(dial({ ...own, maxVersion: 'TLSv1.2' }));
      await assert.rejects(dial({ ...own, ecdhCurve: 'P-256' }));
      await assert.rejects(dial());
      const foreign = await createCa({ network: 'keyweave', days: 1 });
      const theirs = await issueClientCertificate({ ca: foreign, network: 'keyweave', name: 'app', days: 1 });
      await assert.rejects(dial({ cert: theirs.certificate, key: theirs.key }));
    };
    await strict();
    const reloaded = reload(identity);
    await renew();
    await reloaded;
    await strict();
  });

  it('ends the connection of a client whose certificate is revoked, in words, and takes no other of it', async () => {
    const { identity, dial, ended, revoked } = await listener(true);
    const own = { cert: client.certificate, key: client.key };
    const other = await issueClientCertificate({
      ...{ ca: certificates.ca, network: 'keyweave', name: 'other', days: 1 },
    });
    const [open, stays] = [await dial(own), await dial({ cert: other.certificate, key: other.key })];
    const closed = once(open, 'close');
    const reloaded = reload(identity);
    await revoked(client.certificate);
    await reloaded;
    await closed;
    await echo(stays);
    assert.deepEqual(ended, ['the certificate is revoked']);
    await assert.rejects(dial(own), /closed/);
    assert.equal(ended.length, 2);
  });

  it('ends the connection of a client whose CA is removed, not while both are there', async () => {
    const { identity, dial, ended, caPath } = await listener(true);
    const newer = await createCa({ network: 'keyweave', days: 1 });
    const open = await dial({ cert: client.certificate, key: client.key });
    const both = reload(identity);
    writeFileSync(caPath, `${newer.certificate}\n${certificates.ca.certificate}`);
    await both;
    const next = await issueClientCertificate({ ca: newer, network: 'keyweave', name: 'next', days: 1 });
    const stays = await dial({ cert: next.certificate, key: next.key });
    await echo(open);
    const closed = once(open, 'close');
    const one = reload(identity);
    writeFileSync(caPath, newer.certificate);
    await one;
    await closed;
    await echo(stays);
    assert.deepEqual(ended, ['no CA that is trusted here has issued the certificate']);
  });

  it('ends the connection of a client whose certificate runs out', async (t) => {
    mock.timers.enable({ apis: ['setInterval'] });
    t.after(() => mock.timers.reset());
    const { dial, ended } = await listener(true);
    const open = await dial({ cert: client.certificate, key: client.key });
    mock.timers.tick(2_000);
    await echo(open);
    const closed = once(open, 'close');
    const { now } = Date;
    t.mock.method(Date, 'now', () => now() + 86_400_000);
    mock.timers.tick(2_000);
    await closed;
    assert.deepEqual(ended, ['the certificate is out of date']);
  });

  it('keeps its certificate while the new files are not sound', async () => {
    const { dial, kept } = await listener(false);
    const first = (await dial()).getPeerX509Certificate()?.serialNumber;
    const { certPath } = certificateFiles(certificates.config(ALICE), 'gateway');
    const good = readFileSync(certPath);
    writeFileSync(certPath, 'half a certificate');
    await kept;
    assert.equal((await dial()).getPeerX509Certificate()?.serialNumber, first);
    writeFileSync(certPath, good);
  });
});
