import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { runCommand } from '#test/helpers/command.ts';
import { CHART, helm, NODE, PEER, render, runHelm, VALUE_SETS, type Values } from './rendered.ts';

const folder = mkdtempSync(
  join(mkdirSync(join(HOME, '.cache'), { recursive: true }) ?? join(HOME, '.cache'), 'helm-values-'),
);
after(() => rmSync(folder, { recursive: true, force: true }));

const LEAST = { node: { uuid: NODE }, kmeSimulator: { enabled: true } };

/** Lays one value over the least that must be given. */
function withValue(path: string, value: unknown): Values {
  const values = structuredClone(LEAST) as { [name: string]: unknown };
  const names = path.split('/');
  const last = names.pop() as string;
  let at = values;
  for (const name of names) {
    at[name] ??= {};
    at = at[name] as typeof values;
  }
  at[last] = value;
  return values;
}

/** Path, bad value, what helm must say beside the path. */
const BAD = [
  ['node/uuid', 'alice', 'does not match pattern'],
  ['node/uid', NODE, "additional properties 'uid' not allowed"],
  ['nodes', {}, "additional properties 'nodes' not allowed"],
  ['node/network', 'Not A Network', 'does not match pattern'],
  ['peers/bob', { address: { host: 'x', port: 1 } }, "additional properties 'bob' not allowed"],
  [`peers/${PEER}/address/port`, 70_000, 'maximum'],
  [`peers/${PEER}/shared_seed`, 'short', 'minLength'],
  ['config/limits/max_streams', 0, 'minimum'],
  ['config/limits/max_strems', 7, "additional properties 'max_strems' not allowed"],
  ['config/limits/shutdown_grace', '5 s', 'does not match pattern'],
  ['config/listeners/json/tls', 'on', 'value must be one of'],
  ['config/qkd/tls', { ca_path: '/x' }, "additional properties 'tls' not allowed"],
  ['config/uuid', NODE, "additional properties 'uuid' not allowed"],
  ['config/logging_config/filename', '/x', "additional properties 'filename' not allowed"],
  ['services/gateway/replicas', 2, "additional properties 'replicas' not allowed"],
  ['services/hybridizer/replicas', 0, 'minimum'],
  ['services/hybridiser/replicas', 2, "additional properties 'hybridiser' not allowed"],
  ['services/hybridizer/resources/limits/memory', 'much', 'does not match pattern'],
  ['image/digest', 'sha256:abc', 'does not match pattern'],
  ['certificates/source', 'vault', 'value must be one of'],
  ['certificates/certManager/duration', '90d', 'does not match pattern'],
  ['kmeSimulator/ends', 1, 'minimum'],
  ['networkPolicy/dns', [], 'minItems'],
  ['networkPolicy/applications', [{}], 'minProperties'],
  ['pods/leaveSeconds', -1, 'minimum'],
  ['pods/bindAddress', '127.0.0.1', 'value must be one of'],
  ['applications/service/type', 'ExternalName', 'value must be one of'],
  ['serviceMonitor/interval', 'often', 'does not match pattern'],
] as const;

describe("the chart's values", { skip: helm.missing }, () => {
  for (const [name, values] of Object.entries(VALUE_SETS))
    it(`pass helm lint --strict: ${name}`, async () => {
      const { code, stdout, stderr } = await runHelm(['lint', '--strict', CHART], values);
      assert.equal(code, 0, `${stdout}${stderr}`);
    });

  for (const [path, value, words] of BAD)
    it(`are refused with their path: ${path}`, async () => {
      const { code, stderr } = await runHelm(['template', 'alice', CHART], withValue(path, value));
      assert.notEqual(code, 0, 'was taken');
      const place = pathOfFault(path, words);
      const line = stderr.split('\n').find((one) => new RegExp(`at '${place}['/]`).test(one)) ?? '';
      assert.ok(line !== '', stderr);
      if (words.includes('not')) assert.ok(line.includes(words), line);
    });

  for (const [what, values, words] of [
    ['neither key manager nor simulator', { node: { uuid: NODE } }, /keyManager\.host is needed/],
    ['both', { ...LEAST, keyManager: { host: '10.1.2.3' } }, /exclude each other/],
    [
      'a key manager by name, without where it is',
      { node: { uuid: NODE }, keyManager: { host: 'kme' } },
      /networkPolicy\.keyManager is needed/,
    ],
    [
      'cert-manager without an issuer',
      withValue('certificates/source', 'cert-manager'),
      /certificates\.certManager\.issuerRef\.name is needed/,
    ],
    [
      "a peer's address without its UUID for the test",
      withValue('test/peer/host', 'bob'),
      /test\.peer\.uuid is needed/,
    ],
  ] as const satisfies readonly (readonly [string, Values, RegExp])[])
    it(`are refused in words: ${what}`, async () => {
      const { code, stderr } = await runHelm(['template', 'alice', CHART], values);
      assert.notEqual(code, 0);
      assert.match(stderr, words);
    });

  for (const [name, values] of Object.entries(VALUE_SETS))
    it(`make files that 'keyweave check-config' takes: ${name}`, async () => {
      const objects = await render(values);
      const deployments = objects.filter(
        ({ kind, metadata }) => kind === 'Deployment' && !metadata.name.endsWith('kme-simulator'),
      );
      const configs = new Set(
        deployments.map(({ spec }) => spec.template.metadata.annotations['keyweave.example/config']),
      );
      assert.deepEqual([deployments.length, configs.size], [5, 1]);
      const at = mkdtempSync(join(folder, 'node-'));
      writeFileSync(join(at, 'config.json'), [...configs][0]);
      const peers = objects.find(({ kind }) => kind === 'Secret')?.stringData?.['trusted_peers_info.json'];
      writeFileSync(join(at, 'trusted_peers_info.json'), peers ?? '{}');
      const { code, stderr } = await runCommand(['check-config', '--elsewhere', at]);
      assert.equal(code, 0, stderr);
    });
});

describe('the schema of values', () => {
  interface Node {
    readonly type?: unknown;
    readonly description?: string;
    readonly properties?: Readonly<Record<string, Node>>;
    readonly patternProperties?: Readonly<Record<string, Node>>;
    readonly additionalProperties?: unknown;
    readonly items?: Node;
  }
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Node;

  const walk = (node: Node, path: string, visit: (node: Node, path: string) => void): void => {
    visit(node, path);
    for (const [name, member] of Object.entries({ ...node.properties, ...node.patternProperties }))
      walk(member, `${path}/${name}`, visit);
    if (node.items) walk(node.items, `${path}[]`, visit);
  };

  it('describes every value, and lets no unknown one pass', () => {
    const missing: string[] = [];
    const open: string[] = [];
    let seen = 0;
    walk(schema, '', (node, path) => {
      seen++;
      if (!node.description && !path.endsWith('[]')) missing.push(path);
      if (node.properties && node.additionalProperties !== false) open.push(path);
    });
    assert.ok(seen > 200, `${seen} values`);
    assert.deepEqual({ missing, open }, { missing: [], open: [] });
  });
});

/** Where a value is not known, the fault is what it lies in. */
function pathOfFault(path: string, words: string): string {
  const names = path.split('/');
  const unknown = /additional properties '(.+)'/.exec(words)?.[1];
  const until = unknown === undefined ? names.length : names.indexOf(unknown);
  return names
    .slice(0, until)
    .map((name) => `/${name}`)
    .join('');
}
