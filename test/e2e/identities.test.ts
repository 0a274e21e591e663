import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { Metadata } from 'nice-grpc';
import { createCa, issueServiceCertificate, type PemPair } from '#certs/issue.ts';
import type { Address } from '#common/config/fields.ts';
import { loadNodeFiles } from '#common/config/load.ts';
import type { ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { connect } from '#common/grpc/client.ts';
import { Readiness } from '#common/service/readiness.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import { type LocalNode, openData, openPair, startLocalNetwork, twoNodes } from '../helpers/network.ts';

const { network, alice, bob } = await twoNodes();
let ca: PemPair;
const folder = mkdtempSync(join(tmpdir(), 'keyweave-ids-'));
const quiet = {
  debug: () => undefined,
  info: () => undefined,
  warning: () => undefined,
  error: () => undefined,
};

before(async () => {
  ca = {
    certificate: readFileSync(join(network.folder, 'ca', 'ca.crt'), 'utf8'),
    key: readFileSync(join(network.folder, 'ca', 'ca.key'), 'utf8'),
  };
});
after(async () => {
  rmSync(folder, { recursive: true });
});

/** One harmless call of each gRPC service. */
const CALLS = {
  'keyweave.v1.Hybridizer': (c: ReturnType<typeof connect>) =>
    c.client(HybridizerDefinition).derive({ batches: [] }),
  'keyweave.v1.PqcSource': (c: ReturnType<typeof connect>) =>
    c.client(PqcSourceDefinition).listAlgorithms({}),
  'keyweave.v1.QkdSource': (c: ReturnType<typeof connect>) =>
    c.client(QkdSourceDefinition).closeQkd({ keyStreamId: Buffer.alloc(16), epoch: 0, qkdKeyStreamId: 'x' }),
  'keyweave.v1.KeyAgreement': (c: ReturnType<typeof connect>) =>
    c
      .client(KeyAgreementDefinition)
      .close({ keyStreamId: Buffer.alloc(16) }, { metadata: Metadata({ [PEER_METADATA]: bob.uuid }) }),
  'grpc.health.v1.Health': (c: ReturnType<typeof connect>) => c.client(HealthDefinition).check({}),
} as const;

type GrpcService = keyof typeof CALLS;

/** Every gRPC port of Alice, what it serves, and who may call it. */
function ports(): [
  server: ServiceName,
  address: Address,
  service: GrpcService,
  allowed: [uuid: string, service: string],
][] {
  const at = (name: string) => alice.services[name]?.address as Address;
  return [
    ['gateway', at('gateway'), 'keyweave.v1.KeyAgreement', [alice.uuid, 'peer-broker']],
    ['qkd-source', at('qkd-source'), 'keyweave.v1.QkdSource', [alice.uuid, 'gateway']],
    ['pqc-source', at('pqc-source'), 'keyweave.v1.PqcSource', [alice.uuid, 'gateway']],
    ['hybridizer', at('hybridizer'), 'keyweave.v1.Hybridizer', [alice.uuid, 'gateway']],
    ['peer-broker', at('peer-broker'), 'keyweave.v1.KeyAgreement', [alice.uuid, 'gateway']],
    ['peer-broker', alice.peer, 'keyweave.v1.KeyAgreement', [bob.uuid, 'peer-broker']],
  ];
}

let files = 0;

/** Calls a port as the owner of a certificate would; gives the reason of the refusal, or OK. */
async function callAs(
  who: { uuid: string; service: string; by?: PemPair; days?: number },
  server: ServiceName,
  address: Address,
  service: GrpcService,
): Promise<string> {
  const issuer = who.by ?? ca;
  const issued = await issueServiceCertificate({
    ca: issuer,
    network: 'keyweave',
    nodeUuid: who.uuid,
    service: who.service,
    names: [],
    days: who.days ?? 1,
  });
  const base = join(folder, String(files++));
  writeFileSync(`${base}.crt`, issued.certificate);
  writeFileSync(`${base}.key`, issued.key);
  const identity = loadTlsIdentity({
    caPath: join(network.folder, 'ca', 'ca.crt'),
    certPath: `${base}.crt`,
    keyPath: `${base}.key`,
    log: quiet,
  });
  const { config, peers } = loadNodeFiles(
    join(alice.folder, 'config.json'),
    join(alice.folder, 'trusted_peers_info.json'),
  );
  const context = {
    service: 'gateway' as const,
    config,
    peers,
    onPeersChange: () => () => undefined,
    identity,
    log: quiet,
    readiness: new Readiness(),
    addresses: {} as never,
  };
  const connection = connect({
    context,
    address,
    nodeUuid: alice.uuid,
    service: server,
    unreachable: 'PEER_UNREACHABLE',
  });
  try {
    await CALLS[service](connection);
    return 'OK';
  } catch (error) {
    return error instanceof KeyweaveError ? error.reason : String(error);
  } finally {
    connection.close();
    identity.close();
  }
}

describe('who may call what (invariant 7)', () => {
  it('lets in exactly whom the architecture needs, on every port', async () => {
    for (const [server, address, service, [uuid, allowed]] of ports()) {
      const outcome = await callAs({ uuid, service: allowed }, server, address, service);
      assert.ok(!['NOT_ALLOWED', 'PEER_UNREACHABLE'].includes(outcome), `${server} ${service}: ${outcome}`);
    }
  });

  it('refuses a right certificate of a wrong service or node, on every port', async () => {
    for (const [server, address, service, [uuid, allowed]] of ports()) {
      const others = ['gateway', 'qkd-source', 'pqc-source', 'hybridizer', 'peer-broker', 'tool'];
      for (const other of others.filter((name) => name !== allowed)) {
        assert.equal(
          await callAs({ uuid, service: other }, server, address, service),
          'NOT_ALLOWED',
          `${other} at ${server}`,
        );
      }
      const stranger = 'eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee';
      for (const node of [stranger, uuid === alice.uuid ? bob.uuid : alice.uuid]) {
        assert.equal(
          await callAs({ uuid: node, service: allowed }, server, address, service),
          'NOT_ALLOWED',
          `${node} at ${server}`,
        );
      }
    }
  });

  it('refuses certificates of another CA and expired ones, on every port', async () => {
    const foreign = await createCa({ network: 'keyweave', days: 1 });
    for (const [server, address, service, [uuid, allowed]] of ports()) {
      for (const who of [{ by: foreign }, { days: -0.001 }]) {
        assert.equal(
          await callAs({ uuid, service: allowed, ...who }, server, address, service),
          'PEER_UNREACHABLE',
          server,
        );
      }
    }
  });

  it('refuses who has no certificate, TLS 1.2 and plain X25519, on every port', async () => {
    const own = {
      cert: readFileSync(join(alice.folder, 'certs', 'gateway.crt')),
      key: readFileSync(join(alice.folder, 'certs', 'gateway.key')),
    };
    const refused = [{}, { ...own, maxVersion: 'TLSv1.2' as const }, { ...own, ecdhCurve: 'X25519' }];
    for (const [server, { host, port }] of ports()) {
      for (const options of refused) {
        const outcome = await new Promise<string>((resolve) => {
          const socket = tlsConnect({
            host,
            port,
            ca: ca.certificate,
            checkServerIdentity: () => undefined,
            ALPNProtocols: ['h2'],
            ...options,
          });
          // With TLS 1.3 the client is done before the server has seen its certificate: only what follows tells.
          socket.on('data', () => undefined);
          socket.on('error', () => resolve('refused'));
          socket.on('close', () => resolve('refused'));
          socket.setTimeout(3000, () => resolve('open'));
        });
        assert.equal(outcome, 'refused', `${server} ${JSON.stringify(Object.keys(options))}`);
      }
    }
  });

  it('ties a peer to its own UUID: nobody speaks for a stream of another node', async () => {
    const pair = await openPair(network, openData(alice, bob));
    const carol = 'cccccccc-cccc-cccc-cccc-cccccccccccc';
    const outcome = await callAs(
      { uuid: carol, service: 'peer-broker' },
      'peer-broker',
      alice.peer,
      'keyweave.v1.KeyAgreement',
    );
    assert.equal(outcome, 'NOT_ALLOWED');
    assert.equal((await pair.a.getKey(pair.ksid)).status, 0);
    await pair.close();
  });
});

describe('an empty list of callers', () => {
  it('denies everybody', async () => {
    const closed = await startLocalNetwork({
      names: ['Alice', 'Bob'],
      config: (name) => (name === 'Alice' ? { services: { hybridizer: { callers: [] } } } : {}),
    });
    try {
      const [a, b] = closed.nodes as [LocalNode, LocalNode];
      const pair = await openPair(closed, openData(a, b, undefined, { timeout: 1500 }));
      const answer = await pair.a.getKey(pair.ksid);
      assert.notEqual(answer.status, 0);
      assert.match(answer.message, /hybridizer refused this caller/);
      await pair.close();
    } finally {
      await closed.stop();
    }
  });
});
