import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { loadNodeFiles } from '#common/config/load.ts';

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
  writeFileSync(peersPath, typeof peers === 'string' ? peers : JSON.stringify(peers));
  return loadNodeFiles(configPath, peersPath);
}

const PEER = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const ADDRESS = { host: '10.10.11.245', port: 3001 };
const peersWith = (seed: unknown) => ({ [PEER]: { shared_seed: seed, address: ADDRESS } });

/** All that an error and its causes could put into a log. */
function textOf(thrown: unknown): string {
  const texts: string[] = [];
  for (let error = thrown; error instanceof Error; error = error.cause) texts.push(inspect(error));
  return texts.join('\n');
}

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (thrown) {
    return thrown;
  }
  return assert.fail('nothing was thrown');
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

  it('says where a file is not JSON', () => {
    const text = JSON.stringify(REFERENCE, undefined, 2).replace('"port": 65430', '"port": 65430,');
    assert.throws(() => load(text), /config\.json: is not JSON \(line 18, column 3\)$/);
    assert.throws(() => load('{"uuid":'), /config\.json: is not JSON \(it ends at line 1, column 9\)$/);
  });

  it('names a file that is not there', () => {
    assert.throws(
      () => loadNodeFiles(join(folder, 'nowhere.json'), 'x'),
      /nowhere\.json: cannot be read \(ENOENT\)/,
    );
  });
});

describe('a shared_seed', () => {
  const SEED = 'Pl4nted-S3ed';
  const written = JSON.stringify(peersWith(SEED), undefined, 2);

  for (const [what, peers] of [
    ['without its first quote', written.replace(`"${SEED}`, SEED)],
    ['without its last quote', written.replace(`${SEED}"`, SEED)],
    ['in single quotes', written.replace(`"${SEED}"`, `'${SEED}'`)],
    ['without the colon before it', written.replace(`: "${SEED}"`, ` "${SEED}"`)],
    ['without the comma behind it', written.replace(`"${SEED}",`, `"${SEED}"`)],
    ['with a line break in it', written.replace(SEED, `${SEED}\n`)],
    ['with a wrong escape in it', written.replace(SEED, `${SEED}\\x`)],
    ['at which the file ends', written.slice(0, written.indexOf(SEED) + SEED.length)],
    ['with text behind the file', `${written}"${SEED}"`],
    ['in a list', peersWith([SEED])],
    ['in an object', peersWith({ is: SEED })],
    ['as a number', peersWith(Number.parseInt(SEED, 36))],
    ['as the address', { [PEER]: { address: SEED } }],
    ['as the host', { [PEER]: { address: { host: [SEED], port: SEED } } }],
    ['as the whole entry', { [PEER]: SEED }],
    ['as the whole file', JSON.stringify(SEED)],
    ['that is too short', peersWith(SEED.slice(0, 7))],
  ] as const) {
    it(`${what} is refused by its place, and no piece of it is told`, () => {
      const told = textOf(errorOf(() => load(REFERENCE, peers)));
      assert.match(told, /peers\.json: /);
      for (let i = 0; i + 4 <= SEED.length; i++) {
        const piece = SEED.slice(i, i + 4);
        assert.ok(!told.includes(piece), `${JSON.stringify(piece)} is in: ${told}`);
      }
      assert.ok(!told.includes(String(Number.parseInt(SEED, 36)).slice(0, 5)), told);
    });
  }

  for (const [what, seed] of [
    ['empty', ''],
    ['blank', ' \t\n        '],
    ['short', 'seven77'],
    ['short but for blanks', 'seven77      '],
  ] as const) {
    it(`that is ${what} is refused in words`, () => {
      assert.throws(
        () => load(REFERENCE, peersWith(seed)),
        /peers\.json: aaaaaaaa-.*\.shared_seed: must have at least 8 bytes besides blanks; leave it out where/,
      );
    });
  }

  it("may be as short as the reference's, 123456789, or in any script, and stays as it was written", () => {
    for (const seed of ['123456789', 'acht8888', 'ключ', '  twelve bytes ']) {
      assert.equal(load(REFERENCE, peersWith(seed)).peers[PEER]?.shared_seed?.expose().toString(), seed);
    }
  });

  it('lies in memory of its own', () => {
    const seed = load(REFERENCE, peersWith('123456789')).peers[PEER]?.shared_seed?.expose();
    assert.equal(seed?.buffer.byteLength, 9);
  });
});
