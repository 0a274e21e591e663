import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { homedir, hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { HOME } from '#common/service/installation.ts';
import { VERSION } from '#common/service/version.ts';
import { attempt, run } from '../containers/command.ts';

/** All that the package may hold, by folder. */
const WANTED = [
  /^(package\.json|LICENSE|NOTICE|README\.md|CHANGELOG\.md|SECURITY\.md)$/,
  /^bin\/keyweave$/,
  /^dist\/package\.json$/,
  /^dist\/(certs|services|proto\/gen)\/[a-z0-9/_-]+\.js$/,
  /^deploy\/(config|requests)\/[A-Za-z0-9/_-]+\.json$/,
  /^deploy\/schemas\/[a-z_]+\.schema\.json$/,
  /^deploy\/systemd\/[a-z.-]+$/,
  /^dist\/services\/gateway\/frontends\/console\/page\/(console\.css|icon\.svg|index\.html)$/,
  /^deploy\/telemetry\/((alerts|prometheus)\.yml|(collector|jaeger)\.yaml)$/,
  /^deploy\/telemetry\/grafana\/(dashboards\/keyweave\.json|provisioning\/[a-z]+\/keyweave\.yaml)$/,
  /^docs\/([a-z-]+\.md|images\/console-[a-z]+\.png)$/,
];

const ADDON = `${HOME}services/pqc-source/native/liboqs-node.node`;

let folder: string;
/** Where the package lies, installed. */
let installed: string;

const npx = (...args: string[]) => attempt('npx', ['--no-install', 'keyweave', ...args], { cwd: folder });

function filesUnder(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}

describe('the package, packed and installed into an empty folder', () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'keyweave-package-'));
    installed = join(folder, 'node_modules', 'keyweave');
    // Below the checkout npm would take its settings, and its packages, for the folder's own.
    assert.ok(!folder.startsWith(HOME));
    await run('npm', ['pack', '--pack-destination', folder], { cwd: HOME });
    await run('npm', ['install', '--prefer-offline', '--loglevel=error', `./keyweave-${VERSION}.tgz`], {
      cwd: folder,
    });
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  it('holds what it needs and nothing else: no tests, no sources, no contracts', () => {
    const files = filesUnder(installed).filter((path) => !path.startsWith('node_modules/'));
    assert.deepEqual(
      files.filter(
        (path) => !WANTED.some((pattern) => pattern.test(path)) || /\.test\.|\/native\//.test(path),
      ),
      [],
    );
    for (const path of [
      'NOTICE',
      'CHANGELOG.md',
      'dist/services/cli/main.js',
      'deploy/schemas/config.schema.json',
      'deploy/schemas/trusted_peers_info.schema.json',
      'deploy/systemd/keyweave.service',
      'deploy/telemetry/alerts.yml',
      'dist/services/gateway/frontends/console/page/index.html',
      'dist/services/gateway/frontends/console/page/console.js',
    ])
      assert.ok(files.includes(path), path);
  });

  it('names no path, home or host of the machine that packed it, and nothing of the tests', () => {
    const telling = [HOME, dirname(HOME), homedir(), tmpdir(), hostname()].filter((word) => word.length > 3);
    for (const path of filesUnder(installed)) {
      if (path.startsWith('node_modules/')) continue;
      const text = readFileSync(join(installed, path), 'utf8');
      for (const word of telling) assert.ok(!text.includes(word), `${path} holds ${word}`);
      if (path.startsWith('dist/')) assert.doesNotMatch(text, /#test\/|node:test/, path);
    }
  });

  it('opens no door to its inside for imports', () => {
    const { exports } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    assert.deepEqual(exports, { './package.json': './package.json' });
  });

  it('npx keyweave demo: nine keys, equal at both ends, and nothing is written beside the package', async () => {
    const files = filesUnder(installed);
    const { code, stdout, stderr } = await npx('demo');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^9 of 9 keys are equal at both ends\.$/m);
    assert.deepEqual(filesUnder(installed), files);
  });

  it('says the commit that it was packed from', async () => {
    const head = await run('git', ['-C', HOME, 'rev-parse', '--short=12', 'HEAD']).catch(() => undefined);
    const { stdout } = await npx('--version');
    const commit = head === undefined ? 'commit unknown' : `commit ${head}`;
    assert.ok(stdout.startsWith(`${VERSION} (${commit}`), stdout);
  });

  it('makes a CA and certificates, checks the shipped configuration, finds the shipped requests', async () => {
    for (const args of [
      ['certs', 'ca'],
      ['certs', 'issue', '--config', 'node_modules/keyweave/deploy/config/Alice/config.json'],
      ['check-config', 'node_modules/keyweave/deploy/config/Alice'],
    ]) {
      const { code, stderr } = await npx(...args);
      assert.equal(code, 0, stderr);
    }
    assert.ok(existsSync(join(folder, 'certs/out/ca/ca.crt')));
    const { code, stderr } = await npx('driver', 'open_connect_A-B.json', '--address', '127.0.0.1:9');
    assert.notEqual(code, 0);
    assert.doesNotMatch(stderr, /cannot be read|\.ts\b/);
  });

  it('does 26 KEMs, all with the addon that is named to it, and says how to get it', async () => {
    const without = await npx('algorithms');
    assert.match(without.stdout, /KEYWEAVE_LIBOQS_NODE/);
    const env = { KEYWEAVE_LIBOQS_NODE: ADDON };
    if (!existsSync(ADDON) || !statSync(ADDON).isFile()) return;
    const { stdout } = await attempt('npx', ['--no-install', 'keyweave', 'algorithms', '--json'], {
      cwd: folder,
      env,
    });
    const { kems } = JSON.parse(stdout) as { kems: { engine?: string | null }[] };
    assert.equal(kems.filter(({ engine }) => engine).length, KEM_ALGORITHMS.length);
  });
});

describe('an install of the checkout', () => {
  it('warns of nothing, also where npm runs on an older Node', async () => {
    const copy = mkdtempSync(join(tmpdir(), 'keyweave-install-'));
    try {
      mkdirSync(copy, { recursive: true });
      for (const file of ['package.json', 'package-lock.json', '.npmrc'])
        await run('cp', [`${HOME}${file}`, copy]);
      const { code, stdout, stderr } = await attempt('npm', ['ci', '--dry-run', '--prefer-offline'], {
        cwd: copy,
      });
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stdout + stderr, /npm warn/i);
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  });
});
