import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { GATEWAY_ROOMS } from './import-rules.ts';
import { modulesOf } from './imports.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const MAIN = join(import.meta.dirname, 'main.ts');
const BIOME = join(ROOT, 'node_modules/.bin/biome');
const GATEWAY = 'services/gateway';

let copy: string;

/** What a command says, and whether it was content. */
function run(command: string, args: readonly string[]): Promise<{ passed: boolean; said: string }> {
  return new Promise((done) => {
    execFile(command, args, { cwd: copy, maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
      done({ passed: error === null, said: stdout + stderr }),
    );
  });
}

/** The two commands of `make lint` that look at imports. */
const lintImports = () => run(process.execPath, [MAIN, copy]);
const lintCircles = () => run(BIOME, ['lint', '--error-on-warnings', '--max-diagnostics=none', '.']);

function write(path: string, source: string): void {
  mkdirSync(dirname(join(copy, path)), { recursive: true });
  writeFileSync(join(copy, path), source);
}

before(() => {
  copy = mkdtempSync(join(tmpdir(), 'keyweave-house-'));
  for (const path of ['package.json', 'biome.json', '.gitignore', ...modulesOf(ROOT)])
    cpSync(join(ROOT, path), join(copy, path));
});
after(() => rmSync(copy, { recursive: true, force: true }));

/** A module that must not import another, by what it names; each is planted under a name of its own. */
const FORBIDDEN: [folder: string, specifier: string, words: RegExp][] = [
  [
    'services/hybridizer',
    '../qkd-source/given-keys.ts',
    /a service imports #common, #gen, #certs and itself/,
  ],
  ['services/hybridizer/methods', '../../qkd-source/main.ts', /a service imports/],
  ['services/qkd-source/drivers/deep/deeper', '../../../../hybridizer/context.ts', /a service imports/],
  ['services/hybridizer', '#common/../gateway/main.ts', /a service imports/],
  ['services/hybridizer', './../peer-broker/relay.ts', /a service imports/],
  ['services/hybridizer', '#test/helpers/network.ts', /a service imports/],
  ['services/newcomer', '../hybridizer/main.ts', /a service imports/],
  ['services/common/log', '../../gateway/main.ts', /services\/common imports #gen and itself/],
  ['services/common/log', '#certs/issue.ts', /services\/common imports/],
  ['services/common/log', '#test/helpers/network.ts', /services\/common imports/],
  ['services/client', '#certs/issue.ts', /client library.* imports #common, #gen and itself/],
  ['services/client/transports', '../../cli/address.ts', /client library/],
  ['services/cli/commands', '../../pqc-source/engine-set.ts', /main\.ts only/],
  ['certs', '#gen/keyweave/v1/health.ts', /certs imports #common and itself/],
  ['certs', '../services/hybridizer/main.ts', /certs imports/],
  ['certs', '#test/helpers/network.ts', /certs imports/],
  ...GATEWAY_ROOMS.flatMap((room, i) =>
    ['../main.ts', ...GATEWAY_ROOMS.slice(0, i).map((above) => `../${above}/x.ts`)].map(
      (specifier): [string, string, RegExp] => [`${GATEWAY}/${room}`, specifier, /imports no/],
    ),
  ),
  [`${GATEWAY}/production/initiator`, '../responder/held-batches.ts', /not responder/],
  [`${GATEWAY}/production/responder`, '../initiator/initiator-round.ts', /not initiator/],
  [`${GATEWAY}/production/responder`, '../../opening/qos.ts', /not initiator/],
  [`${GATEWAY}/frontends/etsi004-json`, '../peer/agreement-service.ts', /of the rooms delivery \(and/],
  [`${GATEWAY}/frontends/skip`, '../../streams/ksid.ts', /of the rooms delivery \(and/],
  [`${GATEWAY}/frontends/peer`, '../../clients/x.ts', /delivery, opening, production, store, streams \(and/],
  [`${GATEWAY}/frontends/peer`, '../etsi004-json/answers.ts', /front end peer/],
  [
    `${GATEWAY}/frontends/http`,
    '../etsi014/calls.ts',
    /http is shared by front ends: it imports no front end/,
  ],
  [`${GATEWAY}/frontends`, './peer/peer-text.ts', /no front end/],
  [`${GATEWAY}/frontends`, '../opening/qos.ts', /no room but delivery/],
  [`${GATEWAY}/attic`, '../streams/ksid.ts', /this folder is none of them/],
  [`${GATEWAY}/streams`, '#test/helpers/network.ts', /streams imports/],
];

/** The same import in every form that the language has. */
const FORMS = [
  "import { x } from 'S';",
  "import type { X } from 'S';",
  "import { type X } from 'S';",
  "import 'S';",
  "import * as x from 'S';",
  "export { x } from 'S';",
  "export * from 'S';",
  "export type { X } from 'S';",
  "export const x = await import('S');",
  "export type X = import('S').X;",
  "export type X = typeof import('S');",
];

const ALLOWED: [path: string, specifier: string][] = [
  ['services/hybridizer/x.ts', '#common/log/log.ts'],
  ['services/hybridizer/x.ts', '#certs/issue.ts'],
  ['services/hybridizer/x.ts', 'zod'],
  ['services/hybridizer/x.ts', 'node:fs'],
  ['services/hybridizer/x.test.ts', '#test/helpers/network.ts'],
  ['services/qkd-source/x.test.ts', '../kme-simulator/main.ts'],
  ['services/cli/x.ts', '../pqc-source/main.ts'],
  ['test/e2e/x.test.ts', '../../services/gateway/streams/ksid.ts'],
  ['test/helpers/x.ts', '#test/helpers/network.ts'],
  [`${GATEWAY}/x.ts`, './frontends/peer/agreement-service.ts'],
  [`${GATEWAY}/frontends/skip/x.ts`, '../listener.ts'],
  [`${GATEWAY}/frontends/skip/x.ts`, '../http/http-server.ts'],
  [`${GATEWAY}/frontends/skip/x.ts`, '../../streams/owner.ts'],
  [`${GATEWAY}/frontends/peer/x.ts`, '../../store/peer-quotas.ts'],
  ...GATEWAY_ROOMS.slice(0, -1)
    .filter((room) => room !== 'frontends')
    .map((room): [string, string] => [`${GATEWAY}/${room}/x.ts`, '../clients/x.ts']),
  [`${GATEWAY}/production/initiator/x.ts`, '../batch-limit.ts'],
];

describe('the lint of imports', () => {
  it('passes the tree as it is', async () => {
    assert.deepEqual(await lintImports(), { passed: true, said: '' });
    const circles = await lintCircles();
    assert.ok(circles.passed, circles.said);
  });

  it('passes what goes down, and tests that take what they like', async () => {
    for (const [i, [path, specifier]] of ALLOWED.entries())
      write(path.replace(/x(?=(\.test)?\.ts$)/, `allowed-${i}`), `import '${specifier}';\n`);
    assert.deepEqual(await lintImports(), { passed: true, said: '' });
  });

  it('finds every import that goes where it must not, in every form', async () => {
    const planted = [
      ...FORBIDDEN.map(([folder, specifier, words], i) => ({
        path: `${folder}/planted-${i}.ts`,
        source: `// planted\nimport '${specifier}';\n`,
        line: 2,
        words,
      })),
      ...FORMS.map((form, i) => ({
        path: `${GATEWAY}/clients/form-${i}.ts`,
        source: `${form.replace('S', '../delivery/gateway-delivery.ts')}\n`,
        line: 1,
        words: /clients imports no other room/,
      })),
    ];
    for (const { path, source } of planted) write(path, source);
    const { passed, said } = await lintImports();
    assert.equal(passed, false);
    const lines = said.trim().split('\n');
    for (const { path, line, words } of planted) {
      const found = lines.filter((text) => text.startsWith(`${path}:${line} imports `));
      assert.equal(found.length, 1, `${path}\n${said}`);
      assert.match(found[0] ?? '', words);
    }
    assert.equal(lines.length, planted.length, said);
    for (const { path } of planted) rmSync(join(copy, path));
  });

  it('finds circles, of types and through sub-path imports too', async () => {
    const circles = [
      ['certs/circle-a.ts', "import { b } from './circle-b.ts';\nexport const a = () => b;\n"],
      ['certs/circle-b.ts', "import { a } from './circle-a.ts';\nexport const b = () => a;\n"],
      [
        'services/common/log/circle-a.ts',
        "import type { B } from '../ids/circle-b.ts';\nexport type A = { b: B };\n",
      ],
      [
        'services/common/ids/circle-b.ts',
        "import type { A } from '#common/log/circle-a.ts';\nexport type B = { a: A };\n",
      ],
    ] as const;
    for (const [path, source] of circles) write(path, source);
    const { passed, said } = await lintCircles();
    assert.equal(passed, false);
    for (const [path] of circles) assert.match(said, new RegExp(`${path}:1:`), path);
    assert.equal(said.match(/lint\/suspicious\/noImportCycles/g)?.length, circles.length, said);
  });
});
