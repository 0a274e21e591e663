import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, it, mock } from 'node:test';
import type { Channel } from '@grpc/grpc-js';
import { issueFor } from '#certs/ensure.ts';
import { createCa, issueServiceCertificate } from '#certs/issue.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ownCallers } from '#common/grpc/callers.ts';
import { connectOwn } from '#common/grpc/client.ts';
import { REPLACED_GRACE_MS, RenewedChannel } from '#common/grpc/renewed-channel.ts';
import { startGrpcServer } from '#common/grpc/server.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { loadTlsIdentity, type TlsIdentity } from '#common/tls/identity.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';

describe('RenewedChannel', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
  afterEach(() => mock.timers.reset());

  function renewed() {
    const made: { name: number; closed: number }[] = [];
    const listeners = new Set<() => void>();
    const channel = new RenewedChannel(
      () => {
        const one = { name: made.length, closed: 0 };
        made.push(one);
        const close = () => {
          one.closed++;
        };
        return { createCall: () => one.name, getTarget: () => `${one.name}`, close } as unknown as Channel;
      },
      (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    );
    const call = () => (channel.createCall as () => unknown)();
    const change = () => {
      for (const listener of listeners) listener();
    };
    return { channel, made, listeners, call, change };
  }

  it('takes new calls to a new channel after a change, and gives the old one time to finish', () => {
    const { made, call, change } = renewed();
    assert.equal(call(), 0);
    change();
    assert.equal(call(), 1);
    mock.timers.tick(REPLACED_GRACE_MS - 1);
    assert.equal(made[0]?.closed, 0);
    mock.timers.tick(1);
    assert.deepEqual(
      made.map(({ closed }) => closed),
      [1, 0],
    );
  });

  it('closes all that it has made, once, and listens no more', () => {
    const { channel, made, listeners, change } = renewed();
    change();
    change();
    channel.close();
    mock.timers.tick(REPLACED_GRACE_MS);
    assert.deepEqual(
      made.map(({ closed }) => closed),
      [1, 1, 1],
    );
    assert.equal(listeners.size, 0);
  });
});

describe('a connection between services', () => {
  let certificates: TestCertificates;
  before(async () => {
    certificates = await testCertificates();
  });
  after(() => certificates.remove());

  const changed = (identity: TlsIdentity) =>
    new Promise<void>((resolve) => {
      const stop = identity.onChange(() => {
        stop();
        resolve();
      });
    });

  it('survives the replacement of the CA at both ends, in the order of an operator', async () => {
    const config = certificates.config(ALICE);
    const newer = await createCa({ network: 'keyweave', days: 2 });
    const identities: TlsIdentity[] = [];
    /** A context whose files are looked at every 20 ms. */
    async function contextOf(service: 'hybridizer' | 'gateway', port = 0) {
      const context = await certificates.context(config, service, { hybridizer: port });
      const files = certificateFiles(config, service);
      const caPath = `${files.certPath}-ca.crt`;
      writeFileSync(caPath, certificates.ca.certificate);
      const identity = loadTlsIdentity({ ...files, caPath, log: silentLog, pollMs: 20 });
      identities.push(identity);
      const trust = async (...pems: string[]) => {
        const done = changed(identity);
        writeFileSync(caPath, pems.join('\n'));
        await done;
      };
      const renew = async () => {
        const names = { network: 'keyweave', nodeUuid: ALICE, service, names: [] };
        const issued = await issueServiceCertificate({ ca: newer, ...names, days: 1 });
        const done = changed(identity);
        writeFileSync(files.keyPath, issued.key);
        writeFileSync(files.certPath, issued.certificate);
        await done;
      };
      return { context: { ...context, identity }, trust, renew };
    }
    const server = await contextOf('hybridizer');
    let wait: Promise<void> | undefined;
    const grpc = await startGrpcServer(server.context, {
      address: { host: '127.0.0.1', port: 0 },
      services: [
        {
          definition: HybridizerDefinition,
          implementation: {
            derive: async ({ batches }: { batches: readonly object[] }) => {
              if (batches.length > 0) await wait;
              return { batches: [] };
            },
          },
          callers: ownCallers(config, 'hybridizer'),
        },
      ],
    });
    const client = await contextOf('gateway', grpc.address.port);
    const connection = connectOwn(client.context, 'hybridizer');
    const { derive } = connection.client(HybridizerDefinition);
    const ends = [server, client];
    try {
      await derive({ batches: [] });
      const release = Promise.withResolvers<void>();
      wait = release.promise;
      const underWay = derive({ batches: [{}] }, { timeoutMs: 30_000 });
      const both = [certificates.ca.certificate, newer.certificate];
      for (const end of ends) {
        await end.trust(...both);
        await derive({ batches: [] });
      }
      for (const end of ends) {
        await end.renew();
        await derive({ batches: [] });
      }
      for (const end of ends) {
        await end.trust(newer.certificate);
        await derive({ batches: [] });
      }
      release.resolve();
      await underWay;
      // Who has not renewed is out.
      await issueFor(config, 'gateway', 1);
      const { certPath, keyPath } = certificateFiles(config, 'gateway');
      const caPath = `${certPath}-late-ca.crt`;
      writeFileSync(caPath, newer.certificate);
      const late = loadTlsIdentity({ certPath, keyPath, caPath, log: silentLog });
      identities.push(late);
      const stranger = connectOwn({ ...client.context, identity: late }, 'hybridizer');
      await assert.rejects(stranger.client(HybridizerDefinition).derive({ batches: [] }), (error) =>
        isReason(error, 'SERVICE_UNAVAILABLE'),
      );
      stranger.close();
    } finally {
      connection.close();
      await grpc.stop();
      for (const identity of identities) identity.close();
    }
  });
});
