import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadNodeFiles } from './load.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-config-'));
after(() => rmSync(folder, { recursive: true }));
const SHIPPED = fileURLToPath(new URL('../../../deploy/config/', import.meta.url));

/** The example of the reference's manual. */
const REFERENCE = {
  uuid: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
  logging_config: {
    console_log_type: 'info',
    colorless_console_log: false,
    file_log_type: 'debug',
    filename: 'hybrid.log',
  },
  certificate_config: {
    certificate_ip: '10.10.11.246',
    cert_authority_path: '/app/ca/ca.crt',
    cert_path: '/app/certs/node.crt',
    key_path: '/app/certs/node.key',
  },
  hybridization_server_address: { host: '10.10.11.246', port: 65430 },
  qkd_address: { host: '192.168.222.1', port: 54001 },
  peer_local_address: { host: '10.10.11.246', port: 3001 },
};

function load(config: unknown, peers: unknown = {}) {
  const [configPath, peersPath] = [join(folder, 'config.json'), join(folder, 'peers.json')];
  writeFileSync(configPath, typeof config === 'string' ? config : JSON.stringify(config));
  writeFileSync(peersPath, JSON.stringify(peers));
  return loadNodeFiles(configPath, peersPath);
}

describe('loadNodeFiles', () => {
  it("takes the reference's file as it is, with our defaults beside it", () => {
    const { config } = load(REFERENCE);
    assert.equal(config.listeners.json.default_method, 'hkdf-sha384');
    assert.equal(config.policy.missing_source, 'refuse');
    assert.equal(config.limits.default_timeout, 10_000);
    assert.ok(Object.isFrozen(config.limits));
  });

  it('takes every shipped node', () => {
    const nodes = readdirSync(SHIPPED);
    assert.deepEqual(nodes.sort(), ['Alice', 'Bob', 'Charlie']);
    for (const node of nodes) {
      const { config, peers } = loadNodeFiles(
        join(SHIPPED, node, 'config.json'),
        join(SHIPPED, node, 'trusted_peers_info.json'),
      );
      assert.ok(peers[config.uuid]);
    }
  });

  const bad: [string, unknown, RegExp][] = [
    ['an unknown key', { ...REFERENCE, polcy: {} }, /config\.json: polcy: unknown key/],
    ['an unknown key inside', { ...REFERENCE, qkd: { tiemout: '1s' } }, /qkd\.tiemout: unknown key/],
    [
      'an unknown key of the probes',
      { ...REFERENCE, health: { port: 1, prot: 2 } },
      /health\.prot: unknown key/,
    ],
    ['probes without a port', { ...REFERENCE, health: {} }, /health\.port: /],
    ['a missing key', { ...REFERENCE, qkd_address: undefined }, /qkd_address: /],
    ['a wrong type', { ...REFERENCE, qkd_address: { host: 'x', port: '54001' } }, /qkd_address\.port: /],
    [
      'a port out of range',
      { ...REFERENCE, qkd_address: { host: 'x', port: 70_000 } },
      /qkd_address\.port: /,
    ],
    ['a UUID that is none', { ...REFERENCE, uuid: 'alice' }, /uuid: must be a UUID/],
    [
      'a duration without a unit',
      { ...REFERENCE, qkd: { timeout: '5' } },
      /qkd\.timeout: must be a whole number with a unit/,
    ],
    [
      'a duration that no timer takes',
      { ...REFERENCE, limits: { max_timeout: '597h' } },
      /limits\.max_timeout: must be at most 596h/,
    ],
    [
      'a log file without a name',
      { ...REFERENCE, logging_config: { file_log_type: 'info' } },
      /logging_config\.filename: required/,
    ],
    ['no JSON', '{"uuid":', /config\.json: is not JSON/],
  ];
  for (const [what, config, message] of bad) {
    it(`refuses ${what} by the path of its key`, () => assert.throws(() => load(config), message));
  }

  it('names a file that is not there', () => {
    assert.throws(
      () => loadNodeFiles(join(folder, 'nowhere.json'), 'x'),
      /nowhere\.json: cannot be read \(ENOENT\)/,
    );
  });
});
