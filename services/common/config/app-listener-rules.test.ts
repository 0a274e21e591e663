import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { appListenerFaults, listenerPeerFaults } from '#common/config/app-listener-rules.ts';
import type { Fault } from '#common/config/fields.ts';
import { listenerFaults } from '#common/config/listeners.ts';
import { type NodeConfig, nodeConfigSchema } from '#common/config/node-config.ts';

const [OWN, PEER, STRANGER] = ['a', 'b', 'c'].map((digit) =>
  [8, 4, 4, 4, 12].map((length) => digit.repeat(length)).join('-'),
) as [string, string, string];
const ADDRESS = { host: '127.0.0.1', port: 65_430 };
const PEERS = { [OWN]: { address: ADDRESS }, [PEER]: { address: ADDRESS } };

function configOf(listeners: object, more: object = {}): NodeConfig {
  return nodeConfigSchema.parse({
    uuid: OWN,
    certificate_config: {
      ...{ certificate_ip: '127.0.0.1', cert_authority_path: 'ca.crt' },
      ...{ cert_path: 'node.crt', key_path: 'node.key' },
    },
    hybridization_server_address: ADDRESS,
    qkd_address: { host: '127.0.0.1', port: 1 },
    peer_local_address: { host: '127.0.0.1', port: 2 },
    listeners,
    ...more,
  });
}

const inWords = (faults: readonly Fault[]) =>
  faults.map(({ path, message }) => `${path.map(String).join('.')}: ${message}`);

describe('the binary listener', () => {
  it('is off unless it is configured, then on loopback with client certificates', () => {
    assert.equal(configOf({}).listeners.binary, undefined);
    const { binary } = configOf({ binary: {} }).listeners;
    assert.deepEqual(
      [binary?.host, binary?.port, binary?.tls, binary?.peer_presence, binary?.max_bps],
      ['127.0.0.1', 25_575, 'mutual', 'app', 500_000],
    );
    assert.deepEqual(appListenerFaults(configOf({ binary: {} })), []);
  });

  it('is plain on loopback only', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost'])
      assert.deepEqual(appListenerFaults(configOf({ binary: { host, tls: 'off' } })), [], host);
    for (const host of ['0.0.0.0', '10.0.0.1', '::', 'alice.example'])
      assert.deepEqual(inWords(appListenerFaults(configOf({ binary: { host, tls: 'off' } }))), [
        `listeners.binary.tls: off is for loopback, which ${host} is not`,
      ]);
    const idle = configOf({ binary: { tls: 'off', client_ca_path: 'x.crt' } });
    assert.deepEqual(inWords(appListenerFaults(idle)), [
      'listeners.binary.client_ca_path: is for TLS, which is off',
    ]);
  });

  it('has defaults that make a key, as the JSON listener has', () => {
    const wrong = { default_method: 'xor', default_key_sources: ['QKD', 'ML-KEM-42'] };
    assert.deepEqual(inWords(appListenerFaults(configOf({ binary: wrong }))), [
      'listeners.binary.default_method: unknown method "xor"',
      `listeners.binary.default_key_sources.1: unknown key source "ML-KEM-42"; see 'keyweave algorithms'`,
    ]);
    const single = { default_method: 'xoring', default_key_sources: ['QKD'] };
    assert.match(inWords(appListenerFaults(configOf({ binary: single })))[0] ?? '', /needs 2 sources/);
  });

  it('names trusted peers only, and the own node only by a host', () => {
    const sound = { default_peer: PEER.toUpperCase(), peers: { 'Bob.example': PEER, alice: OWN } };
    const config = configOf({ binary: sound });
    assert.deepEqual(config.listeners.binary?.peers, { 'bob.example': PEER, alice: OWN });
    assert.deepEqual(listenerPeerFaults(config, PEERS), []);
    const wrong = { default_peer: OWN, peers: { carol: STRANGER } };
    assert.deepEqual(inWords(listenerPeerFaults(configOf({ binary: wrong }), PEERS)), [
      `listeners.binary.default_peer: ${OWN} is the own node`,
      `listeners.binary.peers.carol: ${STRANGER} is no trusted peer`,
    ]);
    assert.deepEqual(listenerPeerFaults(configOf({}), PEERS), []);
  });

  it('needs a port of its own where the gateway runs', () => {
    const config = configOf({ binary: { port: ADDRESS.port } });
    const place = { addresses: {}, health: false };
    assert.deepEqual(inWords(listenerFaults(config, { ...place, services: ['gateway'] })), [
      `listeners.binary.port: the binary API would listen on port ${ADDRESS.port}, as the JSON API does`,
    ]);
    assert.deepEqual(listenerFaults(config, { ...place, services: ['hybridizer'] }), []);
  });
});

describe('the gRPC listener', () => {
  it('is off unless it is configured, then on loopback, always with client certificates', () => {
    assert.equal(configOf({}).listeners.grpc, undefined);
    const { grpc } = configOf({ grpc: {} }).listeners;
    assert.deepEqual([grpc?.host, grpc?.port, grpc?.peer_presence], ['127.0.0.1', 50_051, 'app']);
    assert.throws(() => configOf({ grpc: { tls: 'off' } }), /tls/);
  });

  it('has defaults that make a key, and a port of its own', () => {
    const config = configOf({ binary: { port: 7_000 }, grpc: { port: 7_000, default_method: 'xor' } });
    assert.deepEqual(inWords(appListenerFaults(config)), [
      'listeners.grpc.default_method: unknown method "xor"',
    ]);
    assert.deepEqual(
      inWords(listenerFaults(config, { addresses: {}, health: false, services: ['gateway'] })),
      ['listeners.grpc.port: the gRPC API would listen on port 7000, as the binary API does'],
    );
  });
});
