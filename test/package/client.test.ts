import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { Address } from '#common/config/fields.ts';
import { HOME } from '#common/service/installation.ts';
import { VERSION } from '#common/service/version.ts';
import { buildClient, CLIENT_FOLDER } from '../../deploy/package/build-client.ts';
import { run } from '../containers/command.ts';
import { applicationOf } from '../helpers/applications.ts';
import type { ClientPem } from '../helpers/doors.ts';
import { type LocalNetwork, type LocalNode, startLocalNetwork } from '../helpers/network.ts';

/** All that the package may hold. */
const WANTED = [
  /^(package\.json|LICENSE|README\.md)$/,
  /^examples\/(conversation|wireguard-psk|node-options)\.mjs$/,
  /^dist\/services\/client\/([a-z-]+|transports\/[a-z-]+)\.(js|d\.ts)$/,
  /^dist\/services\/common\/(crypto\/(bytes|random|secret)|errors\/(keyweave-error|status-table))\.(js|d\.ts)$/,
  /^dist\/services\/common\/etsi\/(etsi004-(binary|json)-codec|(answer|json)-client|json-framer)\.(js|d\.ts)$/,
  /^dist\/services\/common\/(ids\/uuid|time\/(clock|growing-pause|wait-for))\.(js|d\.ts)$/,
  /^dist\/proto\/gen\/keyweave\/v1\/(common|key_delivery)\.(js|d\.ts)$/,
];

const MOST_FILES = 72;
const PATIENCE_MS = 60_000;

const README = readFileSync(`${HOME}services/client/README.md`, 'utf8');

let folder: string;
let installed: string;
let network: LocalNetwork;
let alice: LocalNode;
let bob: LocalNode;
const children = new Set<ChildProcess>();

function filesUnder(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}

/** The blocks of the README whose first line is this, in their order. */
function blocks(kind: string): string[] {
  return [...README.matchAll(new RegExp(`^\`\`\`${kind}\n(.*?)^\`\`\``, 'gms'))].map(([, text = '']) => text);
}

/** A text of the README with what this network has in place of the quick start's. */
function here(text: string, ports: 'json' | 'grpc', end: LocalNode = alice): string {
  const { host, port } = end[ports] as Address;
  return text
    .replace("host: '127.0.0.1'", `host: '${host}'`)
    .replace(/port: (65430|50051)/, `port: ${port}`)
    .replaceAll(/'((ca|billing)\.(crt|key))'/g, `'${folder}/$1'`);
}

interface Started {
  readonly child: ChildProcess;
  readonly lines: string[];
  stderr(): string;
  /** A line of its stdout, or its stderr, that fits. */
  line(pattern: RegExp): Promise<void>;
  readonly ended: Promise<number | null>;
}

function start(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const child = spawn(program, args, {
    ...{ cwd: folder, env: { ...process.env, ...env }, timeout: PATIENCE_MS, killSignal: 'SIGKILL' },
  });
  children.add(child);
  const lines: string[] = [];
  let said = '';
  const waiting = new Set<() => void>();
  const hear = (text: string) => {
    lines.push(text);
    for (const wake of waiting) wake();
  };
  createInterface({ input: child.stdout }).on('line', hear);
  createInterface({ input: child.stderr }).on('line', (text) => {
    said += `${text}\n`;
    hear(text);
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  void ended.then(() => {
    children.delete(child);
    for (const wake of waiting) wake();
  });
  const line = async (pattern: RegExp) => {
    while (!lines.some((text) => pattern.test(text))) {
      if (!children.has(child)) throw new Error(`it ended without ${pattern}: ${lines.join('\n')}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.add(resolve);
      await promise;
      waiting.delete(resolve);
    }
  };
  return { child, lines, stderr: () => said, line, ended };
}

/** The command of a line of the README, run by this Node. */
function example(line: string, more: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const [program, ...args] = line
    .replaceAll('127.0.0.1:65430', `${alice.json.host}:${alice.json.port}`)
    .replaceAll('127.0.0.2:65430', `${bob.json.host}:${bob.json.port}`)
    .split(/\s+/)
    .map((word) => word.replace(/^"\$(\w+)"$/, '$1'));
  assert.equal(program, 'node');
  return start(process.execPath, [...args, ...more], env);
}

/**
 * Both ends have printed such lines, in this order. The one that is done first closes, and the other may then have
 * missed what was not confirmed there yet.
 */
async function assertShown(ends: readonly Started[], wanted: readonly RegExp[]): Promise<void> {
  const codes = await Promise.all(ends.map(({ ended }) => ended));
  assert.ok(codes.includes(0), ends.map(({ stderr }) => stderr()).join('\n'));
  for (const [i, { lines, stderr }] of ends.entries()) {
    if (codes[i] !== 0) assert.match(stderr(), /PEER_APPLICATION_NOT_CONNECTED/);
    const told = codes[i] === 0 ? lines : lines.filter((line) => wanted.some((one) => one.test(line)));
    if (codes[i] === 0) assert.equal(told.length, wanted.length, lines.join('\n'));
    for (const [nth, line] of told.entries()) assert.match(line, wanted[nth] as RegExp);
  }
}

async function freePort(): Promise<number> {
  const { freePorts } = await import('../../services/cli/free-ports.ts');
  const [port = 0] = await freePorts('127.0.0.1', 1);
  return port;
}

describe('the client library, packed and installed into an empty folder', () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'keyweave-client-'));
    installed = join(folder, 'node_modules/@keyweave/client');
    assert.ok(!folder.startsWith(HOME));
    buildClient();
    await run('npm', ['pack', '--pack-destination', folder], { cwd: CLIENT_FOLDER });
    writeFileSync(join(folder, 'package.json'), '{"type":"module","private":true}');
    await run(
      'npm',
      ['install', '--prefer-offline', '--no-audit', '--no-fund', `./keyweave-client-${VERSION}.tgz`],
      {
        cwd: folder,
      },
    );
    network = await startLocalNetwork({
      names: ['Alice', 'Bob'],
      config: () => ({ listeners: { grpc: { port: 0 }, binary: { port: 0, tls: 'off' } } }),
    });
    [alice, bob] = network.nodes as [LocalNode, LocalNode];
    const billing: ClientPem = await applicationOf(network, 'billing');
    writeFileSync(join(folder, 'ca.crt'), billing.ca);
    writeFileSync(join(folder, 'billing.crt'), billing.cert);
    writeFileSync(join(folder, 'billing.key'), billing.key);
  });

  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await network?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('holds what it needs and nothing else, no part of a node, and brings no other package with it', () => {
    const files = filesUnder(installed);
    assert.deepEqual(
      files.filter((path) => !WANTED.some((pattern) => pattern.test(path))),
      [],
    );
    assert.ok(files.includes('dist/services/client/main.js') && files.length <= MOST_FILES);
    assert.deepEqual(
      readdirSync(join(folder, 'node_modules')).filter((name) => !name.startsWith('.')),
      ['@keyweave'],
    );
    const { dependencies, version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    assert.deepEqual([dependencies, version], [undefined, VERSION]);
  });

  it('names no path, home or host of the machine that packed it', () => {
    const telling = [HOME, dirname(HOME), homedir(), tmpdir(), hostname()].filter((word) => word.length > 3);
    for (const path of filesUnder(installed)) {
      const text = readFileSync(join(installed, path), 'utf8');
      for (const word of telling) assert.ok(!text.includes(word), `${path} holds ${word}`);
      assert.doesNotMatch(text, /#test\/|node:test/, path);
    }
  });

  it('gives keys to plain JavaScript, as the README shows it, at both ends', async () => {
    const [text = ''] = blocks('js');
    const shown = [alice, bob].map((node) => {
      const path = join(folder, `${node.name}.js`);
      writeFileSync(path, here(text, 'json', node));
      return start(process.execPath, [path]);
    });
    await assertShown(shown, [/^0 32 0$/, /^1 32 0$/, /^2 32 0$/]);
  });

  it('says what is missing for gRPC, and how to get it', async () => {
    const [text = ''] = blocks('ts');
    writeFileSync(join(folder, 'grpc.ts'), here(text, 'grpc'));
    const { ended, stderr } = start(process.execPath, [join(folder, 'grpc.ts')]);
    assert.notEqual(await ended, 0);
    assert.match(stderr(), /npm install @grpc\/grpc-js @bufbuild\/protobuf/);
  });

  it('gives keys to TypeScript, as the README shows it, which the strict compiler passes', async () => {
    const manifest = JSON.parse(readFileSync(`${HOME}package.json`, 'utf8'));
    const wanted = ['@grpc/grpc-js', '@bufbuild/protobuf', 'typescript', '@types/node'].map(
      (name) => `${name}@${manifest.dependencies[name] ?? manifest.devDependencies[name]}`,
    );
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...wanted], { cwd: folder });
    const [text = ''] = blocks('ts');
    for (const node of [alice, bob]) writeFileSync(join(folder, `${node.name}.ts`), here(text, 'grpc', node));
    const strict = ['--noEmit', '--strict', '--target', 'es2024', '--module', 'nodenext', '--types', 'node'];
    const more = ['--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--lib', 'es2024,esnext'];
    const tsc = join(folder, 'node_modules/.bin/tsc');
    await run(process.execPath, [tsc, ...strict, ...more, join(folder, 'Alice.ts')], { cwd: folder });
    writeFileSync(
      join(folder, 'wrong.ts'),
      "import { createClient } from '@keyweave/client';\nawait createClient({ host: 7 });\n",
    );
    await assert.rejects(
      run(process.execPath, [tsc, ...strict, ...more, join(folder, 'wrong.ts')], { cwd: folder }),
      /not assignable to type 'string'/,
    );
    const shown = [alice, bob].map((node) => start(process.execPath, [join(folder, `${node.name}.ts`)]));
    await assertShown(shown, [/^[A-Z_]+ [23] GET_KEY was answered with status [23]: ./, /^0 64 true$/]);
  });

  it('serves the binary protocol too, and a script of CommonJS', async () => {
    const path = join(folder, 'binary.cjs');
    writeFileSync(
      path,
      `const { createClient } = require('@keyweave/client');
      (async () => {
        const [a, b] = await Promise.all(JSON.parse(process.argv[2]).map((node) =>
          createClient({ transport: 'binary', ...node })));
        const uris = JSON.parse(process.argv[3]);
        const [one, other] = await Promise.all([a.open(uris), b.open(uris)]);
        const key = await one.next();
        const twin = await other.at(key.index);
        console.log(key.key.expose().equals(twin.key.expose()), String(key.key), key);
        await Promise.all([one.close(), other.close()]);
        a.end();
        b.end();
      })();`,
    );
    const uris = { source: `hybrid://cjs@${alice.uuid}`, destination: `hybrid://cjs@${bob.uuid}` };
    const nodes = JSON.stringify([alice.binary, bob.binary]);
    const { stdout } = await promisify(execFile)(process.execPath, [path, nodes, JSON.stringify(uris)], {
      ...{ cwd: folder, timeout: PATIENCE_MS },
    });
    assert.equal(stdout.trim(), 'true [secret] DeliveredKey { index: 0, key: [secret] }');
  });

  it('encrypts a conversation by the commands of the README', async () => {
    const port = await freePort();
    const [listen = '', join = ''] = (blocks('sh conversation')[0] ?? '')
      .replaceAll('127.0.0.1:4000', `127.0.0.1:${port}`)
      .trim()
      .split('\n');
    const one = example(listen, []);
    await one.line(/^listening at/);
    const other = example(join, []);
    await Promise.all([one.line(/^connected/), other.line(/^connected/)]);
    one.child.stdin?.write('good morning\n');
    await other.line(/^good morning$/);
    other.child.stdin?.write('to you, too\nwhat news?\n');
    await one.line(/^what news\?$/);
    one.child.stdin?.end('none\n');
    await other.line(/^none$/);
    other.child.stdin?.end('so be it\n');
    await one.line(/^so be it$/);
    assert.deepEqual([await one.ended, await other.ended], [0, 0], one.stderr() + other.stderr());
  });

  it('feeds the preshared keys of WireGuard by the commands of the README', async () => {
    const port = await freePort();
    const bin = join(folder, 'stub');
    mkdirSync(bin);
    // Takes what wg takes, as strictly, and tells of the key by its digest.
    writeFileSync(
      join(bin, 'wg'),
      `#!/bin/sh
[ "$#" = 6 ] && [ "$1 $2 $3 $5 $6" = "set wg0 peer preshared-key /dev/stdin" ] || exit 1
read -r key </dev/stdin || exit 1
[ "$(printf %s "$key" | base64 -d | wc -c)" = 32 ] || exit 1
echo "$4 $(printf %s "$key" | sha256sum | cut -d ' ' -f 1)" >>"$WG_LOG"
`,
    );
    chmodSync(join(bin, 'wg'), 0o755);
    const commands = (blocks('sh wireguard')[0] ?? '')
      .replaceAll('10.0.0.1:7000', `127.0.0.1:${port}`)
      .trim()
      .split('\n');
    const log = (end: number) => join(folder, `wg-${end}.log`);
    const begin = (end: number, more: readonly string[]) =>
      example(commands[end] ?? '', more, { PATH: `${bin}:${process.env.PATH}`, WG_LOG: log(end) });
    // OPEN_CONNECT waits for the other end, and only then does the leading one listen.
    const leading = begin(0, ['--every', '0', '--times', '3']);
    const following = begin(1, []);
    assert.deepEqual(
      [await leading.ended, await following.ended],
      [0, 0],
      leading.stderr() + following.stderr(),
    );
    const set = [0, 1].map((end) => readFileSync(log(end), 'utf8').trim().split('\n'));
    assert.equal(set[0]?.length, 3);
    assert.ok(set[0]?.every((line) => line.startsWith('PUBLIC_KEY_OF_B ')));
    assert.ok(set[1]?.every((line) => line.startsWith('PUBLIC_KEY_OF_A ')));
    const keys = set.map((lines) => lines.map((line) => line.split(' ')[1]));
    assert.deepEqual(keys[0], keys[1]);
    assert.equal(new Set(keys[0]).size, 3);
    assert.ok(!keys[0]?.includes(createHash('sha256').update('').digest('hex')));
  });
});
