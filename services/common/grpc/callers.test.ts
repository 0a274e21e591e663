import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nodeConfigSchema, SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import {
  anyOwnService,
  CALLER_METADATA,
  callerOf,
  ownCallers,
  PEER_METADATA,
  peerBrokerCallers,
} from '#common/grpc/callers.ts';

const ALICE = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const BOB = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const CHARLIE = 'cccccccc-cccc-cccc-cccc-cccccccccccc';
const address = { host: '127.0.0.1', port: 1 };

const config = (services: object = {}) =>
  nodeConfigSchema.parse({
    uuid: ALICE,
    certificate_config: {
      certificate_ip: '127.0.0.1',
      cert_authority_path: 'ca.crt',
      cert_path: 'node.crt',
      key_path: 'node.key',
      network: 'testnet',
    },
    hybridization_server_address: address,
    qkd_address: address,
    peer_local_address: address,
    services,
  });

const id = (uuid: string, service: string) => `spiffe://testnet/node/${uuid}/${service}`;

describe('the lists of callers', () => {
  it('let in what the architecture needs and nobody else', () => {
    const expected: Record<ServiceName, string[]> = {
      gateway: [id(ALICE, 'peer-broker')],
      'qkd-source': [id(ALICE, 'gateway')],
      'pqc-source': [id(ALICE, 'gateway')],
      'peer-broker': [id(ALICE, 'gateway')],
      hybridizer: [id(ALICE, 'gateway')],
    };
    for (const service of SERVICE_NAMES)
      assert.deepEqual([...ownCallers(config(), service)], expected[service], service);
  });

  it('are the configured ones where there are any; an empty one denies everybody', () => {
    const some = config({ hybridizer: { callers: ['tool', 'qkd-source'] }, gateway: { callers: [] } });
    assert.deepEqual([...ownCallers(some, 'hybridizer')], [id(ALICE, 'tool'), id(ALICE, 'qkd-source')]);
    assert.deepEqual([...ownCallers(some, 'gateway')], []);
  });

  it("let in the trusted peers' brokers, the own node's not among them", () => {
    const peers: TrustedPeers = { [ALICE]: { address }, [BOB]: { address }, [CHARLIE]: { address } };
    const callers = peerBrokerCallers(config(), peers);
    const lets = (uuid: string, service = 'peer-broker') => callers.has(id(uuid, service));
    assert.deepEqual(
      [ALICE, BOB, CHARLIE].map((uuid) => lets(uuid)),
      [false, true, true],
    );
    assert.equal(lets(BOB, 'gateway'), false);
    assert.equal(callers.has(id(BOB, 'peer-broker').replace('testnet', 'other')), false);
    for (const nobody of ['', 'peer-broker', 'spiffe://testnet/client/x', id('constructor', 'peer-broker')])
      assert.equal(callers.has(nobody), false, nobody);
  });

  it('of peers follow the peers', () => {
    const peers: TrustedPeers = { [BOB]: { address } };
    const callers = peerBrokerCallers(config(), peers);
    const both = () => [BOB, CHARLIE].map((uuid) => callers.has(id(uuid, 'peer-broker')));
    assert.deepEqual(both(), [true, false]);
    peers[CHARLIE] = { address };
    delete peers[BOB];
    assert.deepEqual(both(), [false, true]);
  });

  it('of health hold every service and tool of the own node', () => {
    const expected = [...SERVICE_NAMES, 'tool'].map((service) => id(ALICE, service));
    assert.deepEqual([...anyOwnService(config())].sort(), expected.sort());
  });
});

describe('the entries of the metadata', () => {
  it('keep their names, since nodes and services of other releases look for them', () => {
    assert.deepEqual([CALLER_METADATA, PEER_METADATA], ['keyweave-caller', 'keyweave-peer']);
  });
});

describe('callerOf', () => {
  it('takes the caller that the authorisation has noted, and does without none', () => {
    const metadata = (entries: Record<string, unknown>) => ({ get: (name: string) => entries[name] });
    assert.equal(callerOf(metadata({ [CALLER_METADATA]: 'spiffe://x' })), 'spiffe://x');
    assert.throws(
      () => callerOf(metadata({})),
      (error) => isReason(error, 'NOT_ALLOWED'),
    );
  });
});
