import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { appListenerFaults, consoleTls, listenerPeerFaults } from '#common/config/app-listener-rules.ts';
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

describe('the policy', () => {
  const faultsOf = (policy: object, listeners: object = {}) =>
    inWords(appListenerFaults(configOf(listeners, { policy })));

  it('has no floor that what a listener means by default is below', () => {
    assert.deepEqual(
      faultsOf({ floor: { min_kinds: 2, min_nist_category: 3, methods: ['HKDF-sha384'] } }),
      [],
    );
    assert.deepEqual(faultsOf({ floor: { min_nist_category: 5 } }, { grpc: {} }), [
      'listeners.json.default_key_sources: policy.floor.min_nist_category is 5, and ML-KEM-768 is of NIST category 3',
      'listeners.grpc.default_key_sources: policy.floor.min_nist_category is 5, and ML-KEM-768 is of NIST category 3',
    ]);
    assert.deepEqual(faultsOf({ floor: { methods: ['kmac256'] } }), [
      'listeners.json.default_method: policy.floor.methods allows kmac256, not hkdf-sha384',
    ]);
    const own = { binary: { default_key_sources: ['QKD'], policy: { floor: { min_kinds: 2 } } } };
    assert.deepEqual(faultsOf({}, own), [
      'listeners.binary.default_key_sources: listeners.binary.policy.floor.min_kinds wants QKD and a KEM, and QKD is of QKD alone: name a KEM, too',
    ]);
  });

  it('names trusted peers only', () => {
    const config = configOf({}, { policy: { peers: { [OWN]: {}, [PEER]: {}, [STRANGER]: {} } } });
    assert.deepEqual(inWords(listenerPeerFaults(config, PEERS)), [
      `policy.peers.${OWN}: ${OWN} is the own node`,
      `policy.peers.${STRANGER}: ${STRANGER} is no trusted peer`,
    ]);
  });
});

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

describe('the REST listener', () => {
  const saes = { a: {}, b: { node: PEER } };
  const faultsOf = (rest: object, more: object = {}) =>
    inWords(appListenerFaults(configOf({ rest: { saes, ...rest } }, more)));

  it('is off unless it is configured, then on loopback with the sizes of ETSI GS QKD 014’s examples', () => {
    assert.equal(configOf({}).listeners.rest, undefined);
    const { rest } = configOf({ rest: { saes } }).listeners;
    assert.deepEqual(
      [rest?.host, rest?.port, rest?.key_size, rest?.min_key_size, rest?.max_key_size, rest?.key_ttl],
      ['127.0.0.1', 8_443, 256, 64, 4_096, 600_000],
    );
    assert.deepEqual([rest?.max_key_per_request, rest?.max_sae_id_count], [128, 8]);
    assert.deepEqual(faultsOf({}), []);
    assert.throws(() => configOf({ rest: {} }), /saes/);
    assert.throws(() => configOf({ rest: { saes, key_size: 255 } }), /key_size/);
    assert.throws(() => configOf({ rest: { saes: { '\ud800': {} } } }), /saes/);
    assert.throws(() => configOf({ rest: { saes, peer_presence: 'app' } }), /peer_presence/);
  });

  it('has sizes that go together, and that its method makes', () => {
    assert.deepEqual(
      faultsOf({ key_size: 8_192, max_key_per_request: 1_024 }, { limits: { max_buffered_chunks: 9 } }),
      [
        'listeners.rest.key_size: must be 64 to 4096, as min_key_size and max_key_size say',
        'listeners.rest.max_key_per_request: is more than limits.max_buffered_chunks, 9',
      ],
    );
    assert.deepEqual(faultsOf({ default_method: 'xoring' }), [
      'listeners.rest.max_key_size: xoring makes keys of 256 bits at most of these sources',
    ]);
    assert.deepEqual(faultsOf({ default_method: 'xoring', max_key_size: 256 }), []);
    assert.deepEqual(faultsOf({ default_method: 'xor' }), [
      'listeners.rest.default_method: unknown method "xor"',
    ]);
  });

  it('names SAEs that can be told apart, at trusted nodes, one of them at the own', () => {
    assert.deepEqual(faultsOf({ saes: { b: { node: PEER } } }), [
      'listeners.rest.saes: names no SAE of this node, so that nobody could call',
    ]);
    const twice = {
      a: { identity: 'CN:x' },
      a2: { node: OWN, identity: 'CN:x' },
      b: { node: PEER, identity: 'CN:b' },
    };
    assert.deepEqual(faultsOf({ saes: twice }), ['listeners.rest.saes.a2.identity: is that of "a", too']);
    const strange = configOf({ rest: { saes: { ...saes, c: { node: STRANGER } } } });
    assert.deepEqual(inWords(listenerPeerFaults(strange, PEERS)), [
      `listeners.rest.saes.c.node: ${STRANGER} is no trusted peer`,
    ]);
  });

  it('needs a port of its own where the gateway runs', () => {
    const config = configOf({ grpc: { port: 7_000 }, rest: { saes, port: 7_000 } });
    assert.deepEqual(
      inWords(listenerFaults(config, { addresses: {}, health: false, services: ['gateway'] })),
      ['listeners.rest.port: the REST API would listen on port 7000, as the gRPC API does'],
    );
  });
});

describe('the SKIP listener', () => {
  const systems = { a: {}, b: { node: PEER } };
  const faultsOf = (skip: object, more: object = {}) =>
    inWords(appListenerFaults(configOf({ skip: { systems, ...skip } }, more)));

  it('is off unless it is configured, then on loopback, with certificates and the sizes of its draft', () => {
    assert.equal(configOf({}).listeners.skip, undefined);
    const { skip } = configOf({ skip: { systems } }).listeners;
    assert.deepEqual(
      [skip?.host, skip?.port, skip?.key_size, skip?.min_key_size, skip?.max_key_size, skip?.key_ttl],
      ['127.0.0.1', 8_444, 256, 64, 4_096, 600_000],
    );
    assert.equal(skip?.psk, undefined);
    assert.deepEqual(faultsOf({}), []);
    assert.throws(() => configOf({ skip: {} }), /systems/);
    for (const id of ['', 'a b', 'a*', '[a]', 'a?', 'é', 'x'.repeat(129)])
      assert.throws(() => configOf({ skip: { systems: { [id]: {} } } }), /systems/, id);
    assert.throws(() => configOf({ skip: { systems, saes: {} } }), /saes/);
  });

  it('has sizes that go together, and that its method makes', () => {
    assert.deepEqual(faultsOf({ key_size: 8_192, default_method: 'xoring' }), [
      'listeners.skip.key_size: must be 64 to 4096, as min_key_size and max_key_size say',
      'listeners.skip.max_key_size: xoring makes keys of 256 bits at most of these sources',
    ]);
    assert.deepEqual(faultsOf({ default_method: 'xor' }), [
      'listeners.skip.default_method: unknown method "xor"',
    ]);
  });

  it('names systems that can be told apart, at trusted nodes, one of them at the own', () => {
    assert.deepEqual(faultsOf({ systems: { b: { node: PEER } } }), [
      'listeners.skip.systems: names no system of this node, so that nobody could call',
    ]);
    const twice = { a: { identity: 'CN:x' }, b: { node: PEER, identity: 'CN:x' } };
    assert.deepEqual(faultsOf({ systems: twice }), [
      'listeners.skip.systems.b.identity: is that of "a", too',
    ]);
    const strange = configOf({ skip: { systems: { ...systems, c: { node: STRANGER } } } });
    assert.deepEqual(inWords(listenerPeerFaults(strange, PEERS)), [
      `listeners.skip.systems.c.node: ${STRANGER} is no trusted peer`,
    ]);
  });

  it('has pre-shared keys of systems of this node', () => {
    const path = 'a.psk';
    const identities = { a: { path }, other: { path, system: 'a' } };
    assert.deepEqual(faultsOf({ psk: { identities } }), []);
    assert.deepEqual(
      faultsOf({
        psk: { identities: { b: { path }, x: { path }, toString: { path }, y: { path, system: 'b' } } },
      }),
      [
        'listeners.skip.psk.identities.b: "b" is no system of this node',
        'listeners.skip.psk.identities.x: "x" is no system of this node',
        'listeners.skip.psk.identities.toString: "toString" is no system of this node',
        'listeners.skip.psk.identities.y: "b" is no system of this node',
      ],
    );
    assert.deepEqual(faultsOf({ psk: { identities: {} } }), [
      'listeners.skip.psk.identities: names no identity, so that nobody could use one',
    ]);
    assert.throws(() => configOf({ skip: { systems, psk: { identities: { é: { path } } } } }), /identities/);
  });

  it('needs a port of its own where the gateway runs', () => {
    const config = configOf({ rest: { saes: systems, port: 7_000 }, skip: { systems, port: 7_000 } });
    assert.deepEqual(
      inWords(listenerFaults(config, { addresses: {}, health: false, services: ['gateway'] })),
      ['listeners.skip.port: the SKIP API would listen on port 7000, as the REST API does'],
    );
  });
});

describe('the console', () => {
  const faultsOf = (console: object, more: object = {}) =>
    inWords(appListenerFaults(configOf({ console }, more)));

  it('is off unless it is there, and on loopback then, without TLS', () => {
    assert.equal(configOf({}).listeners.console, undefined);
    const { console } = configOf({ console: {} }).listeners;
    assert.deepEqual([console?.host, console?.port], ['127.0.0.1', 9_466]);
    assert.equal(console && consoleTls(console), 'off');
    assert.deepEqual(faultsOf({}), []);
  });

  it('is elsewhere by mutual TLS alone', () => {
    const { console } = configOf({ console: { host: '10.0.0.5' } }).listeners;
    assert.equal(console && consoleTls(console), 'mutual');
    assert.deepEqual(faultsOf({ host: '10.0.0.5', client_ca_path: 'x.crt' }), []);
    assert.deepEqual(faultsOf({ tls: 'mutual', client_ca_path: 'x.crt' }), []);
    assert.deepEqual(faultsOf({ host: '10.0.0.5', tls: 'off' }), [
      'listeners.console.tls: off is for loopback, which 10.0.0.5 is not',
    ]);
    assert.deepEqual(faultsOf({ client_ca_path: 'x.crt' }), [
      'listeners.console.client_ca_path: is for TLS, which is off',
    ]);
  });

  it('asks health ports that can be dialled', () => {
    assert.deepEqual(
      faultsOf({
        health: [
          { host: '0.0.0.0', port: 9_465 },
          { host: 'a', port: 0 },
        ],
      }),
      [
        'listeners.console.health.0.host: 0.0.0.0 is every address, which nobody can dial',
        'listeners.console.health.1.port: cannot be dialled: it must be from 1 on',
      ],
    );
    assert.throws(() => configOf({ console: { health: [] } }), /health/);
    assert.throws(() => configOf({ console: { policy: {} } }), /policy/);
  });

  it('has a port of its own', () => {
    const config = configOf({ console: { port: 65_430 } });
    assert.deepEqual(
      inWords(listenerFaults(config, { services: ['gateway'], addresses: {}, health: true })),
      ['listeners.console.port: the console would listen on port 65430, as the JSON API does'],
    );
  });
});
