import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { createCa, issueServiceCertificate } from '#certs/issue.ts';
import type { Address } from '#common/config/fields.ts';
import { loadNodeFiles } from '#common/config/load.ts';
import { SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { connect } from '#common/grpc/client.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { Readiness } from '#common/service/readiness.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import type { LocalNode } from '../helpers/network.ts';
import { eventually, keyOf, openData, openPair } from '../helpers/network.ts';
import {
  keyweave,
  NOTICE_MS,
  type OperatedNetwork,
  replaceFile,
  startOperatedNetwork,
} from '../helpers/operated-network.ts';
import { reloadedAfter, underLoad } from '../helpers/operations.ts';

let network: OperatedNetwork;
let alice: LocalNode;
let bob: LocalNode;
const folder = mkdtempSync(join(tmpdir(), 'keyweave-operation-'));

before(async () => {
  network = await startOperatedNetwork({ names: ['Alice', 'Bob'], withKey: () => true, caDays: 400 });
  [alice, bob] = network.nodes as [LocalNode, LocalNode];
});
after(async () => {
  await network?.stop();
  rmSync(folder, { recursive: true });
});

const homes = () => [alice, bob].map((node) => ({ node, home: network.home(node.name) }));
const configOf = (node: LocalNode) => join(node.folder, 'config.json');
const peersOf = (node: LocalNode) => join(node.folder, 'trusted_peers_info.json');
const change = (act: () => unknown) => reloadedAfter(network, [alice, bob], act);

/** The serial number of the certificate that a port presents. */
function presented({ host, port }: Address): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber);
      socket.destroy();
    });
  });
}

const ports = (node: LocalNode): [ServiceName, Address][] => [
  ...SERVICE_NAMES.map((name): [ServiceName, Address] => [name, node.services[name]?.address as Address]),
  ['peer-broker', node.peer],
];

async function newestArePresented(): Promise<void> {
  for (const { node, home } of homes()) {
    for (const [service, address] of ports(node)) {
      const base = service === 'peer-broker' ? 'node' : service;
      const { serialNumber } = new X509Certificate(readFileSync(join(home, 'certs', `${base}.crt`)));
      assert.equal(await presented(address), serialNumber, `${service} of ${node.name}`);
    }
  }
}

/** A caller of Alice's hybridizer over one connection, with a certificate of her gateway that the test has issued. */
async function callerOfHybridizer(ca: { certificate: string; key: string }) {
  const names = { network: 'keyweave', nodeUuid: alice.uuid, service: 'gateway', names: [] };
  const issued = await issueServiceCertificate({ ca, ...names, days: 1 });
  const { config, peers } = loadNodeFiles(configOf(alice), peersOf(alice));
  const base = join(folder, `caller-${readdirSync(folder).length}`);
  const [certPath, keyPath] = [`${base}.crt`, `${base}.key`];
  replaceFile(certPath, issued.certificate);
  replaceFile(keyPath, issued.key);
  const { caPath } = certificateFiles(config, 'gateway');
  // What the caller trusts does not change with the node's files.
  replaceFile(`${base}-ca.crt`, readFileSync(caPath, 'utf8'));
  const identity = loadTlsIdentity({ caPath: `${base}-ca.crt`, certPath, keyPath, log: silentLog });
  const connection = connect({
    context: {
      ...{ service: 'gateway' as const, config, peers, identity, log: silentLog, addresses: {} as never },
      onPeersChange: () => () => undefined,
      readiness: new Readiness(),
    },
    address: alice.services.hybridizer?.address as Address,
    nodeUuid: alice.uuid,
    service: 'hybridizer',
    unreachable: 'PEER_UNREACHABLE',
  });
  const call = () =>
    connection
      .client(HybridizerDefinition)
      .derive({ batches: [] }, { timeoutMs: 10_000 })
      .then(
        () => 'OK',
        (error) => (error instanceof KeyweaveError ? error.reason : String(error)),
      );
  const close = () => {
    connection.close();
    identity.close();
  };
  return { certPath, call, close };
}

const caOf = (home: string) => ({
  certificate: readFileSync(join(home, 'ca', 'ca.crt'), 'utf8'),
  key: readFileSync(join(home, 'ca', 'ca.key'), 'utf8'),
});

describe('certificates of nodes that run', () => {
  it('are renewed under load without a lost request, and presented on every port', async () => {
    const { keys, lost } = await underLoad(alice, bob, async () => {
      await change(async () => {
        for (const { node } of homes()) {
          const text = await keyweave('certs', 'renew', '--force', '--config', configOf(node));
          assert.equal(text.match(/^renewed /gm)?.length, SERVICE_NAMES.length, text);
        }
      });
      await newestArePresented();
    });
    assert.deepEqual(lost, []);
    assert.ok(keys > 20, `only ${keys} keys were read`);
  });

  it('change their CA under load without a lost request: both are taken, then the old one is none any more', async () => {
    const [oldCa, newCa] = [
      caOf(network.home('Alice')),
      await createCa({ network: 'keyweave', days: 400 }),
    ] as const;
    const trust = (...cas: { certificate: string }[]) => {
      for (const { home } of homes())
        replaceFile(join(home, 'ca', 'ca.crt'), cas.map(({ certificate }) => certificate).join('\n'));
    };
    const stranger = await callerOfHybridizer(oldCa);
    try {
      assert.equal(await stranger.call(), 'OK');
      const { keys, lost } = await underLoad(alice, bob, async () => {
        await change(() => trust(oldCa, newCa));
        await change(async () => {
          for (const { node, home } of homes()) {
            replaceFile(join(home, 'ca', 'ca.key'), newCa.key);
            const text = await keyweave('certs', 'renew', '--config', configOf(node));
            assert.equal(text.match(/\(of another CA\)/g)?.length, SERVICE_NAMES.length, text);
          }
        });
        assert.equal(await stranger.call(), 'OK', 'the old CA is still trusted');
        await change(() => trust(newCa));
        await newestArePresented();
      });
      assert.deepEqual(lost, []);
      assert.ok(keys > 20, `only ${keys} keys were read`);
      assert.equal(await stranger.call(), 'NOT_ALLOWED', 'over the connection that stood before');
    } finally {
      stranger.close();
    }
    const late = await callerOfHybridizer(oldCa);
    assert.equal(await late.call(), 'PEER_UNREACHABLE', 'over a new one');
    late.close();
    const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 30_000 }));
    assert.deepEqual(keyOf(await pair.a.getKey(pair.ksid)), keyOf(await pair.b.getKey(pair.ksid)));
    await pair.close();
  });

  it('that are revoked are refused, also on a connection that stands', async () => {
    const home = network.home('Alice');
    const caller = await callerOfHybridizer(caOf(home));
    try {
      assert.equal(await caller.call(), 'OK');
      const said = await keyweave('certs', 'revoke', caller.certPath, '--ca', join(home, 'ca'));
      assert.match(said, /ca\.crl revokes 1 certificate;/);
      assert.equal(
        await eventually('the call is refused', NOTICE_MS, async () => {
          const outcome = await caller.call();
          return outcome === 'OK' ? undefined : outcome;
        }),
        'NOT_ALLOWED',
      );
      const [line] = await network.logged(alice, 'why', 1, ({ msg, reason }) =>
        Boolean(msg === 'a call was refused' && reason === 'the certificate is revoked'),
      );
      assert.equal(line?.caller, `spiffe://keyweave/node/${alice.uuid}/gateway`);
    } finally {
      caller.close();
    }
  });
});

describe('trusted peers of nodes that run', () => {
  it('may be revoked, which ends their streams in words, and added again', async () => {
    const text = readFileSync(peersOf(alice), 'utf8');
    const { [bob.uuid]: _bob, ...others } = JSON.parse(text);
    const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 20_000 }));
    keyOf(await pair.a.getKey(pair.ksid));

    replaceFile(peersOf(alice), '{ half a file');
    await network.logged(alice, 'a broken file is told', SERVICE_NAMES.length, ({ msg }) =>
      msg.includes('trusted peers is not usable, the old peers stay'),
    );
    keyOf(await pair.a.getKey(pair.ksid));

    replaceFile(peersOf(alice), JSON.stringify(others));
    const gone = await eventually('the stream ends', NOTICE_MS, async () => {
      const answer = await pair.a.getKey(pair.ksid);
      return answer.status === 0 ? undefined : answer;
    });
    const words = `this stream has ended: node ${bob.uuid} is not among this node's trusted peers any more`;
    assert.match(gone.message, new RegExp(words));
    await network.logged(alice, 'every service knows', SERVICE_NAMES.length, ({ msg, removed }) =>
      Boolean(msg === 'trusted peers read again' && removed === bob.uuid),
    );
    const atBob = await eventually("the peer's application is told, too", NOTICE_MS, async () => {
      const answer = await pair.b.getKey(pair.ksid);
      return answer.status === 0 ? undefined : answer;
    });
    // Her gateway has told it, or her broker, being the first to know, has refused it.
    assert.match(atBob.message, /the other end has closed this stream|refused this caller/);
    await pair.close();
    const refused = await Etsi004Client.connect(alice.json);
    const answer = await refused.open(openData(alice, bob));
    refused.disconnect();
    assert.match(answer.message, new RegExp(`node ${bob.uuid} is not among this node's trusted peers`));

    replaceFile(peersOf(alice), text);
    await network.logged(alice, 'every service knows', SERVICE_NAMES.length, ({ msg, added }) =>
      Boolean(msg === 'trusted peers read again' && added === bob.uuid),
    );
    for (const [from, to] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      const data = openData(from, to, undefined, { timeout: 30_000 });
      const again = await openPair(network, data);
      assert.deepEqual(keyOf(await again.a.getKey(again.ksid)), keyOf(await again.b.getKey(again.ksid)));
      await again.close();
    }
  });
});
