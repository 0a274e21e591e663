import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { faultsOf, type Imports, importsIn, LONGEST, readWays, type Step, WAYS } from './ways.ts';

const ROOT = resolve(import.meta.dirname, '../..');

describe('docs/exchange.md', () => {
  const ways = readWays(readFileSync(join(ROOT, 'docs/exchange.md'), 'utf8'));
  const imports = importsIn(ROOT);

  it('lists the files of every way', () => assert.deepEqual([...ways.keys()], WAYS));

  for (const name of WAYS) {
    it(`${name}: the files are there, each is reached by one before it, and the list only descends`, () =>
      assert.deepEqual(faultsOf(ways.get(name) ?? [], imports), []));
  }
});

describe('the lists of files', () => {
  const G = 'services/gateway';
  const GEN = 'proto/gen/keyweave/v1/pqc_source.ts';
  const TREE: Record<string, string[]> = {
    [`${G}/frontends/a.ts`]: [`${G}/delivery/b.ts`],
    [`${G}/delivery/b.ts`]: [`${G}/streams/d.ts`, `${G}/clients/e.ts`, 'services/common/log/log.ts'],
    [`${G}/production/c.ts`]: [`${G}/streams/d.ts`],
    [`${G}/streams/d.ts`]: [],
    [`${G}/clients/e.ts`]: [GEN],
    'services/pqc-source/service.ts': [GEN, 'services/pqc-source/pool.ts'],
    'services/pqc-source/pool.ts': [],
    'services/common/log/log.ts': [],
  };
  const imports: Imports = {
    has: (path) => Object.hasOwn(TREE, path),
    of: (path) => new Set(TREE[path]),
  };
  const step = (path: string, more: Partial<Step> = {}): Step => ({
    path,
    enters: undefined,
    port: undefined,
    ...more,
  });
  const [a, b, d, e] = ['frontends/a', 'delivery/b', 'streams/d', 'clients/e'].map((name) =>
    step(`${G}/${name}.ts`),
  ) as [Step, Step, Step, Step];
  const c = step(`${G}/production/c.ts`, { port: d.path });
  const service = step('services/pqc-source/service.ts', { enters: 'pqc-source' });
  const pool = step('services/pqc-source/pool.ts');

  it('are read with their hops and ports, and nothing under other headings is', () => {
    const text = [
      '## How it goes\n1. first\n2. then',
      '### A KEM batch\nIn words.\n',
      `1. \`${a.path}\``,
      `2. \`${c.path}\` through \`${d.path}\`: makes it`,
      `3. → pqc-source \`${service.path}\`: and so on`,
      '## Another\n- a list',
    ].join('\n');
    assert.deepEqual(readWays(text), new Map([['A KEM batch', [a, c, service]]]));
    for (const bad of [
      '1. services/x.ts',
      '2. `services/x.ts`',
      '- `services/x.ts`',
      '1. ->  x `services/x.ts`',
    ])
      assert.throws(() => readWays(`# A KEM batch\n${bad}`), /no entry 1/, bad);
    assert.throws(() => readWays('# A KEM batch\n# A KEM batch'), /two lists/);
  });

  it('are right where each file is reached and lies below', () => {
    assert.deepEqual(faultsOf([a, b, d, e, service, pool], imports), []);
    assert.deepEqual(faultsOf([a, b, c, d, e, service], imports), []);
    assert.deepEqual(faultsOf([a, b, step('services/common/log/log.ts')], imports), []);
  });

  for (const [what, way, words] of [
    ['is empty', [], /empty/],
    ['names a file that is not there', [a, step(`${G}/delivery/gone.ts`)], /no such file/],
    ['skips a file', [a, d], /streams\/d\.ts: no file before it imports it/],
    ['names a file twice', [a, b, d, b], /delivery\/b\.ts: stands in the list twice/],
    ['goes up', [a, b, e, d], /streams\/d\.ts: is in a room above that of .*clients\/e/],
    ['goes up from what is shared', [a, b, step('services/common/log/log.ts'), d], /room above that of/],
    ['names who imports it behind it', [b, a], /frontends\/a\.ts: imports .*which stands before it/],
    [
      'hops to another service than it says',
      [e, { ...service, enters: 'hybridizer' }],
      /no file of hybridizer/,
    ],
    ['hops without a contract', [d, service], /no file before it speaks a contract/],
    ['leaves its process unmarked', [e, { ...service, enters: undefined }], /is not of gateway/],
    [
      'hops without a mark',
      [e, { ...service, enters: undefined }],
      /service\.ts: no file before it imports it/,
    ],
    ['goes through what nobody before it imports', [e, c], /no file before it imports .*streams\/d/],
    ['goes through what it does not import', [a, b, { ...e, port: d.path }], /does not import .*streams\/d/],
  ] as [string, Step[], RegExp][]) {
    it(`are wrong where one ${what}`, () => assert.match(faultsOf(way, imports).join('\n'), words));
  }

  it(`are wrong with more than ${LONGEST} files`, () => {
    const chain = Array.from({ length: LONGEST + 1 }, (_, i) => `services/x/${i}.ts`);
    const long: Imports = {
      has: () => true,
      of: (path) => new Set(chain.slice(chain.indexOf(path) + 1, chain.indexOf(path) + 2)),
    };
    const way = chain.map((path) => step(path));
    assert.deepEqual(faultsOf(way.slice(0, LONGEST), long), []);
    assert.deepEqual(faultsOf(way, long), [`the list has ${LONGEST + 1} files, ${LONGEST} are the most`]);
  });
});
