import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createChannel, createClient, createServer } from 'nice-grpc';
import { createCa, issueServiceCertificate, type PemPair } from '#certs/issue.ts';
import { revoke } from '#certs/revoke.ts';
import type { Log } from '#common/log/log.ts';
import { healthService } from '#common/service/health.ts';
import { loadTlsIdentity, type TlsIdentity } from '#common/tls/identity.ts';
import { HealthCheckResponse_ServingStatus, HealthDefinition } from '#gen/grpc/health/v1/health.ts';

const UUID = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const root = mkdtempSync(join(tmpdir(), 'keyweave-identity-'));
after(() => rmSync(root, { recursive: true }));

/** A log that lets a test wait for a line. */
function waitingLog() {
  const waiters: { text: string; resolve: () => void }[] = [];
  const note = (message: string) => {
    for (const waiter of waiters) if (message.includes(waiter.text)) waiter.resolve();
  };
  const log: Log = { debug: note, info: note, warning: note, error: note };
  const line = (text: string) => new Promise<void>((resolve) => waiters.push({ text, resolve }));
  return { log, line };
}

async function files(name: string, ca: PemPair, service = name) {
  const paths = {
    caPath: join(root, `${name}-ca.crt`),
    certPath: join(root, `${name}.crt`),
    keyPath: join(root, `${name}.key`),
  };
  const write = async (days = 1) => {
    const issued = await issueServiceCertificate({
      ca,
      network: 'keyweave',
      nodeUuid: UUID,
      service,
      names: [],
      days,
    });
    writeFileSync(paths.caPath, ca.certificate);
    writeFileSync(paths.keyPath, issued.key);
    writeFileSync(paths.certPath, issued.certificate);
  };
  await write();
  return { paths, write };
}

async function check(client: TlsIdentity, port: number, expected: string): Promise<boolean> {
  const channel = createChannel(`127.0.0.1:${port}`, client.channelCredentials(expected), {
    'grpc.ssl_target_name_override': 'x',
  });
  try {
    return (
      (await createClient(HealthDefinition, channel).check({})).status ===
      HealthCheckResponse_ServingStatus.SERVING
    );
  } finally {
    channel.close();
  }
}

describe('TLS identity', () => {
  it('serves and dials by SPIFFE id, survives half-written files, and reloads without a restart', async () => {
    const ca = await createCa({ network: 'keyweave', days: 1 });
    const server = await files('server', ca, 'hybridizer');
    const client = await files('client', ca, 'gateway');
    const { log, line } = waitingLog();
    const serverIdentity = loadTlsIdentity({ ...server.paths, log, pollMs: 20 });
    const clientIdentity = loadTlsIdentity({ ...client.paths, log });
    const grpc = createServer();
    const readiness = { problems: async () => [] };
    grpc.add(
      HealthDefinition,
      healthService({ names: [], readiness, stopping: new AbortController().signal }),
    );
    const port = await grpc.listen('127.0.0.1:0', serverIdentity.serverCredentials());
    const expected = `spiffe://keyweave/node/${UUID}/hybridizer`;
    assert.equal(serverIdentity.spiffeId, expected);
    assert.equal(await check(clientIdentity, port, expected), true);
    await assert.rejects(
      check(clientIdentity, port, `spiffe://keyweave/node/${UUID}/pqc-source`),
      /UNAVAILABLE/,
    );

    const kept = line('the old one stays');
    writeFileSync(server.paths.certPath, 'half a certificate');
    await kept;
    assert.equal(await check(clientIdentity, port, expected), true);

    const before = serverIdentity.notAfterMs;
    const reloaded = line('certificate reloaded');
    await server.write(2);
    await reloaded;
    assert.ok(serverIdentity.notAfterMs > before);
    assert.equal(await check(clientIdentity, port, expected), true);

    const foreign = await files('foreign', await createCa({ network: 'keyweave', days: 1 }), 'gateway');
    const foreignIdentity = loadTlsIdentity({ ...foreign.paths, log });
    await assert.rejects(check(foreignIdentity, port, expected), /UNAVAILABLE/);
    await grpc.forceShutdown();
    for (const identity of [serverIdentity, clientIdentity, foreignIdentity]) identity.close();
  });

  it('ends connections to a server whose certificate is revoked, and makes no other', async () => {
    const ca = await createCa({ network: 'keyweave', days: 1 });
    const server = await files('revoked', ca, 'hybridizer');
    const client = await files('revoking', ca, 'gateway');
    const crlPath = join(root, 'ca.crl');
    const parsed = new X509Certificate(ca.certificate);
    const list = (...certificates: X509Certificate[]) =>
      revoke({ ca: { ...ca, parsed }, crlPath, certificates, reason: 'keyCompromise', days: 1 });
    list();
    const { log, line } = waitingLog();
    const serverIdentity = loadTlsIdentity({ ...server.paths, log });
    const clientIdentity = loadTlsIdentity({ ...client.paths, crlPath, log, pollMs: 20 });
    const grpc = createServer();
    grpc.add(
      HealthDefinition,
      healthService({
        names: [],
        readiness: { problems: async () => [] },
        stopping: new AbortController().signal,
      }),
    );
    const port = await grpc.listen('127.0.0.1:0', serverIdentity.serverCredentials());
    const expected = `spiffe://keyweave/node/${UUID}/hybridizer`;
    const channel = createChannel(`127.0.0.1:${port}`, clientIdentity.channelCredentials(expected), {
      'grpc.ssl_target_name_override': 'x',
    });
    try {
      const health = createClient(HealthDefinition, channel);
      assert.equal((await health.check({})).status, HealthCheckResponse_ServingStatus.SERVING);
      const ended = line('a connection was ended');
      list(new X509Certificate(readFileSync(server.paths.certPath)));
      await ended;
      await assert.rejects(health.check({}), /UNAVAILABLE.*is refused: the certificate is revoked/);
      await assert.rejects(check(clientIdentity, port, expected), /UNAVAILABLE/);
    } finally {
      channel.close();
      await grpc.forceShutdown();
      for (const identity of [serverIdentity, clientIdentity]) identity.close();
    }
  });

  it('tells the certificates in use that it presents or must accept', async () => {
    const ca = await createCa({ network: 'keyweave', days: 3 });
    const { paths } = await files('dated', ca, 'gateway');
    const spare = await createCa({ network: 'spare', days: 2 });
    writeFileSync(paths.caPath, `${spare.certificate}\n${ca.certificate}`);
    const identity = loadTlsIdentity({ ...paths, log: waitingLog().log });
    identity.close();
    assert.deepEqual(
      identity.certificates().map(({ kind, who, needed, path }) => [kind, who, needed, path]),
      [
        ['own', `spiffe://keyweave/node/${UUID}/gateway`, true, paths.certPath],
        ['ca', 'CN=Keyweave CA spare', false, paths.caPath],
        ['ca', 'CN=Keyweave CA keyweave', true, paths.caPath],
      ],
    );
  });

  it('refuses to start with a key of another certificate', async () => {
    const ca = await createCa({ network: 'keyweave', days: 1 });
    const one = await files('one', ca, 'gateway');
    const two = await files('two', ca, 'gateway');
    assert.throws(
      () => loadTlsIdentity({ ...one.paths, keyPath: two.paths.keyPath, log: waitingLog().log }),
      /BAD_CONFIG: .*do not match/,
    );
  });
});
