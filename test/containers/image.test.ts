import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { attempt } from './command.ts';
import { docker, HOME, IMAGE } from './container-network.ts';
import { baseImage } from './stand-in-base.ts';

const MAX_BYTES = 350_000_000;

interface ImageState {
  readonly Size: number;
  readonly Config: {
    readonly User: string;
    readonly Env: readonly string[];
    readonly Entrypoint: readonly string[];
    readonly Labels: Readonly<Record<string, string>>;
  };
}

const [image] = JSON.parse(await docker('image', 'inspect', IMAGE)) as [ImageState];
const optionsIn = (text: string) => text.trim().split(/\s+/);
const nodeOptions = (env: readonly string[]) =>
  optionsIn(env.find((line) => line.startsWith('NODE_OPTIONS='))?.slice('NODE_OPTIONS='.length) ?? '');

/** Runs the image as Compose does: nothing writable, no rights, no network. */
function runImage(program: readonly string[], ...args: string[]) {
  const hardened = [
    '--rm',
    '--read-only',
    '--cap-drop=ALL',
    '--security-opt=no-new-privileges',
    '--network=none',
  ];
  const [entrypoint, ...rest] = program;
  const chosen = entrypoint === undefined ? [] : [`--entrypoint=${entrypoint}`];
  return attempt('docker', ['run', ...hardened, ...chosen, IMAGE, ...rest, ...args]);
}

describe('the image', () => {
  it('is smaller than 350 MB', (test) => {
    test.diagnostic(`${(image.Size / 1e6).toFixed(0)} MB`);
    assert.ok(image.Size < MAX_BYTES, `${image.Size} bytes`);
  });

  it('runs as nobody in particular, without a shell, and says what it is', () => {
    assert.equal(image.Config.User, '1000:1000');
    assert.deepEqual(image.Config.Entrypoint, ['node', '--no-opt', 'services/cli/main.ts']);
    for (const label of ['title', 'description', 'licenses', 'version', 'revision', 'source', 'created']) {
      assert.ok(image.Config.Labels[`org.opencontainers.image.${label}`], label);
    }
    assert.equal(image.Config.Labels['org.opencontainers.image.base.name'], baseImage());
    const { version } = JSON.parse(readFileSync(join(HOME, 'package.json'), 'utf8')) as { version: string };
    assert.equal(image.Config.Labels['org.opencontainers.image.version'], version);
  });

  it('has the packages of production only, no tests, and nobody’s certificates', async () => {
    const listing = `
      const { readdirSync } = require('node:fs');
      const packages = readdirSync('/app/node_modules');
      const inside = ['services', 'certs'].flatMap((folder) => readdirSync('/app/' + folder, { recursive: true }));
      const unwanted = inside.filter((path) => /\\.(test\\.ts|crt|key|pem)$/.test(path));
      console.log(JSON.stringify({ packages, unwanted, home: readdirSync('/app') }));`;
    const { stdout } = await runImage(['node'], '-e', listing);
    const { packages, unwanted, home } = JSON.parse(stdout) as Record<
      'packages' | 'unwanted' | 'home',
      string[]
    >;
    const manifest = JSON.parse(readFileSync(join(HOME, 'package.json'), 'utf8')) as Record<
      'dependencies' | 'devDependencies' | 'optionalDependencies',
      Record<string, string>
    >;
    for (const name of Object.keys(manifest.dependencies))
      assert.ok(packages.includes(name.split('/')[0] as string), name);
    for (const name of [
      'typescript',
      '@biomejs',
      'ts-proto',
      ...Object.keys(manifest.optionalDependencies),
    ]) {
      assert.ok(!packages.includes(name), name);
    }
    assert.deepEqual(unwanted, []);
    for (const name of ['test', '.git', '.ci']) assert.ok(!home.includes(name), name);
  });

  it('knows every KEM that its engines can do', async () => {
    const { code, stdout, stderr } = await runImage([], 'algorithms', '--json');
    assert.equal(code, 0, stderr);
    const { kems } = JSON.parse(stdout) as { kems: { name: string; engine: string | null }[] };
    const usable = kems.filter(({ engine }) => engine !== null);
    assert.ok(usable.length >= 26, `${usable.length} of ${kems.length}`);
  });

  it('has the keyweave command for those who enter a container', async () => {
    const { stdout } = await runImage(['keyweave'], '--version');
    const { 'org.opencontainers.image.version': version, 'org.opencontainers.image.revision': revision } =
      image.Config.Labels;
    assert.match(stdout, new RegExp(`^${version} \\(commit ${revision?.slice(0, 12)}`));
  });

  for (const [what, script] of [
    ['read outside its folders', "require('node:fs').readFileSync('/etc/passwd')"],
    ['write outside its cache', "require('node:fs').writeFileSync('/tmp/x', '')"],
    ['start another program', "require('node:child_process').execFileSync('/bin/true')"],
  ] as const) {
    it(`may not ${what}`, async () => {
      const { code, stderr } = await runImage(['node'], '-e', script);
      assert.notEqual(code, 0);
      assert.match(stderr, /ERR_ACCESS_DENIED/);
    });
  }

  it('runs no code made of texts, and has no __proto__', async () => {
    const script = `try { new Function('1')(); console.log('ran') } catch (error) { console.log(error.name) }
      console.log(Object.hasOwn(Object.prototype, '__proto__'))`;
    const { stdout } = await runImage(['node'], '-e', script);
    assert.deepEqual(optionsIn(stdout), ['EvalError', 'false']);
  });

  it('is held tighter by Compose, which leaves out only threads and addons', async () => {
    const text = readFileSync(join(HOME, 'deploy', 'compose.yaml'), 'utf8');
    const folded = /NODE_OPTIONS: >-\n((?: {6}\S.*\n)+)/.exec(text)?.[1] ?? '';
    const wide = nodeOptions(image.Config.Env);
    const narrow = wide.filter((option) => option !== '--allow-worker' && option !== '--allow-addons');
    assert.deepEqual(optionsIn(folded), narrow);
    assert.equal(wide.length, narrow.length + 2);
  });
});
