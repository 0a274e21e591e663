import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type CallContext, Metadata } from 'nice-grpc';
import { loadNodeFiles } from '#common/config/load.ts';
import { peerBrokerCallers } from '#common/grpc/callers.ts';
import { connect, type GrpcConnection } from '#common/grpc/client.ts';
import { type GrpcServer, startGrpcServer } from '#common/grpc/server.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { Readiness } from '#common/service/readiness.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { loadTlsIdentity, type TlsIdentity } from '#common/tls/identity.ts';
import {
  KeyAgreementDefinition,
  type KeyAgreementServiceImplementation,
  type OpenRequest,
} from '#gen/keyweave/v1/key_agreement.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import {
  keyOf,
  type LocalNode,
  openData,
  openPair,
  startNode,
  stopNode,
  twoNodes,
} from '../helpers/network.ts';

/** What the stand-in does to an offer on its way from Alice to Bob. */
let alter: (offer: OpenRequest) => OpenRequest = (offer) => offer;
let produced = 0;

let { network, alice, bob } = await twoNodes();
let standIn: GrpcServer;
let toBob: GrpcConnection;
const identities: TlsIdentity[] = [];

/** The context of a node's peer-broker, with its own certificate. */
function brokerOf(node: LocalNode): ServiceContext {
  const { config, peers } = loadNodeFiles(
    join(node.folder, 'config.json'),
    join(node.folder, 'trusted_peers_info.json'),
  );
  const identity = loadTlsIdentity({
    caPath: config.certificate_config.cert_authority_path,
    certPath: config.certificate_config.cert_path,
    keyPath: config.certificate_config.key_path,
    log: silentLog,
  });
  identities.push(identity);
  return {
    service: 'peer-broker',
    config,
    peers,
    onPeersChange: () => () => undefined,
    identity,
    log: silentLog,
    readiness: new Readiness(),
    addresses: {} as never,
  };
}

/** Stands between the peer-brokers, with the certificate of each towards the other. */
async function startStandIn(): Promise<GrpcServer> {
  const asBob = brokerOf(bob);
  toBob = connect({
    context: brokerOf(alice),
    address: bob.peer,
    nodeUuid: bob.uuid,
    service: 'peer-broker',
    unreachable: 'PEER_UNREACHABLE',
  });
  const client = toBob.client(KeyAgreementDefinition);
  const options = (_context: CallContext) => ({ timeoutMs: 20_000, metadata: Metadata() });
  const relay: Record<string, unknown> = Object.fromEntries(
    Object.keys(KeyAgreementDefinition.methods).map((name) => [
      name,
      (request: never, context: CallContext) => {
        if (name === 'produce') produced += 1;
        const call = client[name as 'open'] as (request: unknown, options: object) => unknown;
        return call(name === 'open' ? alter(request) : request, options(context));
      },
    ]),
  );
  const [port = 0] = await freePorts('127.0.0.1', 1);
  return startGrpcServer(asBob, {
    address: { host: '127.0.0.1', port },
    services: [
      {
        definition: KeyAgreementDefinition,
        implementation: relay as unknown as KeyAgreementServiceImplementation,
        callers: peerBrokerCallers(asBob.config, asBob.peers),
      },
    ],
  });
}

before(async () => {
  standIn = await startStandIn();
  await stopNode(alice);
  const file = join(alice.folder, 'trusted_peers_info.json');
  const peers = JSON.parse(readFileSync(file, 'utf8'));
  peers[bob.uuid].address = standIn.address;
  writeFileSync(file, JSON.stringify(peers));
  alice = await startNode(alice);
  network = { ...network, nodes: [alice, bob] };
});
after(async () => {
  await stopNode(alice);
  await standIn.stop();
  toBob.close();
  for (const identity of identities) identity.close();
});

/** Both applications' answers, at the latest after the test's patience. */
async function openBoth(query: string) {
  const started = performance.now();
  const pair = await openPair(network, openData(alice, bob, query, { timeout: 10_000 }));
  const ms = performance.now() - started;
  pair.a.disconnect();
  pair.b.disconnect();
  return { opened: pair.opened, ms };
}

describe('nodes that do not mean the same KEM by a name', () => {
  const withSlot = (change: object) => (offer: OpenRequest) => ({
    ...offer,
    slots: offer.slots.map((slot) => (slot.algorithm === 'QKD' ? slot : { ...slot, ...change })),
  });

  it('do deliver keys through the stand-in as long as it changes nothing', async () => {
    alter = (offer) => offer;
    const pair = await openPair(network, openData(alice, bob));
    assert.deepEqual(keyOf(await pair.a.getKey(pair.ksid)), keyOf(await pair.b.getKey(pair.ksid)));
    await pair.close();
    assert.ok(produced > 0, 'the stand-in does not see how keys are made');
  });

  const differences = {
    revision: { revision: 'hqc-2025-08-22' },
    'size of public keys': { publicKeyBytes: 2241 },
    'size of ciphertexts': { ciphertextBytes: 4421 },
    'size of secrets': { sharedSecretBytes: 32 },
  };
  for (const [what, change] of Object.entries(differences)) {
    it(`are refused at both ends, in words and at once, where the ${what} differs`, async () => {
      alter = withSlot(change);
      produced = 0;
      const { opened, ms } = await openBoth('hybridization=hkdf-sha384&key_sources=HQC-128,QKD');
      for (const answer of opened) {
        assert.equal(answer.status, 7);
        assert.match(answer.message, /HQC-128/);
        for (const value of Object.values(change))
          assert.ok(answer.message.includes(String(value)), answer.message);
      }
      assert.ok(ms < 3_000, `took ${ms} ms`);
      assert.equal(produced, 0, 'keys were made');
    });
  }
});

describe("an offer that is not what the application's URI says", () => {
  const QUERY = 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD';
  const QKD_ONLY = (offer: OpenRequest) => offer.slots.filter((slot) => slot.algorithm === 'QKD');
  const changes: Record<string, [(offer: OpenRequest) => OpenRequest, string]> = {
    'another method': [(offer) => ({ ...offer, method: 'xorhmac' }), 'xorhmac of ML-KEM-768, QKD'],
    'fewer sources': [(offer) => ({ ...offer, slots: QKD_ONLY(offer) }), 'hkdf-sha384 of QKD'],
    'sources in another order': [
      (offer) => ({ ...offer, slots: offer.slots.toReversed() }),
      'hkdf-sha384 of QKD, ML-KEM-768',
    ],
    'a source twice': [
      (offer) => ({ ...offer, slots: [...offer.slots, ...QKD_ONLY(offer)] }),
      'hkdf-sha384 of ML-KEM-768, QKD, QKD',
    ],
    'both weaker': [(offer) => ({ ...offer, method: 'xorhmac', slots: QKD_ONLY(offer) }), 'xorhmac of QKD'],
  };
  for (const [what, [change, reading]] of Object.entries(changes)) {
    it(`is refused at both ends with both readings: ${what}`, async () => {
      alter = change;
      produced = 0;
      const { opened, ms } = await openBoth(QUERY);
      for (const { status, message } of opened) {
        assert.equal(status, 7, message);
        assert.ok(message.includes("the application's URI says hkdf-sha384 of ML-KEM-768, QKD"), message);
        assert.ok(message.includes(`the offer of node ${alice.uuid} says ${reading}`), message);
      }
      assert.ok(ms < 3_000, `took ${ms} ms`);
      assert.equal(produced, 0, 'keys were made');
    });
  }

  it('counts where the URI leaves method and sources to the nodes', async () => {
    alter = (offer) => ({ ...offer, method: 'hkdf-sha256' });
    const { opened } = await openBoth('');
    assert.deepEqual(
      opened.map(({ status }) => status),
      [0, 0],
    );
  });
});
