import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { HOME } from '#common/service/installation.ts';
import { attempt, succeeds } from '../containers/command.ts';
import { findGrpcurl } from '../helpers/grpcurl.ts';
import { nodeUuid, twoNodes } from '../helpers/network.ts';

// The examples of docs/listeners.md, run by bash as they stand there, each in a folder that looks like a checkout in
// which `make certs` was run. What differs: the nodes' listeners have ports that are free, so that `HOST:25575` and the
// like become what the node of that host has; and the certificates of each example lie apart.

const PAGE = readFileSync(`${HOME}docs/listeners.md`, 'utf8');
const LIMIT_MS = 60_000;

/** The listeners of the examples, and the port that the page says each has. */
const PORTS = { binary: 25_575, grpc: 50_051, rest: 8_443, skip: 8_444 } as const;
type Door = keyof typeof PORTS;
const DOORS = Object.keys(PORTS) as Door[];

const TITLES: Readonly<Record<Door, string>> = {
  binary: 'ETSI 004, binary',
  grpc: 'gRPC',
  rest: 'ETSI 014, REST',
  skip: 'Cisco SKIP',
};

/** What stands under the heading of a listener. */
function sectionOf(door: Door): string {
  const [, text] = PAGE.split(`\n## ${TITLES[door]}\n`);
  assert.ok(text, TITLES[door]);
  return text.split(/^## /m)[0] as string;
}

/** The shell examples of a listener, in their order. */
function examplesOf(door: Door): string[] {
  return [...sectionOf(door).matchAll(/^```sh\n(.*?)^```/gms)].map(([, text = '']) => text);
}

/** The example of a listener that has this in it. */
function exampleWith(door: Door, what: string): string {
  const found = examplesOf(door).filter((text) => text.includes(what));
  assert.equal(found.length, 1, `examples of ${TITLES[door]} with ${what}`);
  return found[0] as string;
}

/** Alice's section of a listener, which stands in the page as a block or within a sentence. */
function settingsOf(door: Door): Record<string, unknown> {
  const section = sectionOf(door);
  const [, text] =
    /^```json\n(.*?)^```/ms.exec(section) ?? /`("listeners": .*?)` in\s+Alice's/s.exec(section) ?? [];
  assert.ok(text, TITLES[door]);
  return JSON.parse(`{${text}}`).listeners[door];
}

/** Bob's in place of Alice's, as the words beside the block say. */
function ofBob(settings: Record<string, unknown>): Record<string, unknown> {
  const others = { '127.0.0.1': '127.0.0.2', [nodeUuid(1)]: nodeUuid(0) };
  const { psk } = settings;
  return {
    ...settings,
    host: others[settings.host as string],
    ...(settings.default_peer ? { default_peer: others[settings.default_peer as string] } : {}),
    ...(psk ? { psk: JSON.parse(JSON.stringify(psk).replaceAll('router-c', 'router-d')) } : {}),
  };
}

/** Where the example of a listener is run; `certs/out/ca` is the network's. */
function checkoutOf(door: Door, network: string): string {
  const folder = join(network, door);
  mkdirSync(join(folder, 'certs/out'), { recursive: true });
  symlinkSync(join(network, 'ca'), join(folder, 'certs/out/ca'));
  for (const name of ['bin', 'proto']) symlinkSync(join(HOME, name), join(folder, name));
  return folder;
}

/** Where the examples are run; made when the first node is configured, since its pre-shared keys are there before it starts. */
let folders: Readonly<Record<Door, string>> | undefined;

function foldersIn(network: string): Readonly<Record<Door, string>> {
  if (folders) return folders;
  const made = Object.fromEntries(DOORS.map((door) => [door, checkoutOf(door, network)]));
  folders = made as Record<Door, string>;
  execFileSync('bash', ['-eu', '-c', exampleWith('skip', 'openssl rand')], { cwd: folders.skip });
  return folders;
}

const { network, alice, bob } = await twoNodes({
  config: (name, folder) => {
    const { skip } = foldersIn(folder);
    const settings = DOORS.map((door) => {
      const own = name === 'Alice' ? settingsOf(door) : ofBob(settingsOf(door));
      return [door, { ...own, port: 0 }];
    });
    const text = JSON.stringify({ listeners: Object.fromEntries(settings) });
    return JSON.parse(text.replaceAll('"certs/out/', `"${skip}/certs/out/`));
  },
});
const ends = { '127.0.0.1': alice, '127.0.0.2': bob };

/** An example with this network's ports: those of a host that is a parameter are looked up by `port`. */
function here(door: Door, text: string): string {
  const portOf = (host: string) => (ends[host as keyof typeof ends][door] as Address).port;
  const lookUp = Object.keys(ends).map((host) => `${host}) echo ${portOf(host)} ;;`);
  const placed = text
    .replaceAll(
      new RegExp(`(127\\.0\\.0\\.[12]):${PORTS[door]}\\b`, 'g'),
      (_, host) => `${host}:${portOf(host)}`,
    )
    .replaceAll(new RegExp(`(\\$\\d):${PORTS[door]}\\b`, 'g'), '$1:$(port "$1")');
  assert.notEqual(placed, text, 'the example names no port of the page');
  return `port() { case "$1" in ${lookUp.join(' ')} esac; }\n${placed}`;
}

/** What an example prints, by lines. */
async function linesOf(door: Door, what: string, path = ''): Promise<string[]> {
  const env = { PATH: `${path}:${process.env.PATH}` };
  const options = { cwd: foldersIn(network.folder)[door], env, limitMs: LIMIT_MS };
  const script = here(door, exampleWith(door, what));
  const { code, stdout, stderr } = await attempt('bash', ['-eu', '-c', script], options);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout.trimEnd().split('\n');
}

/** Lines from the first that fits on. */
function from(lines: readonly string[], first: RegExp): string[] {
  const at = lines.findIndex((line) => first.test(line));
  assert.notEqual(at, -1, `${first} in:\n${lines.join('\n')}`);
  return lines.slice(at);
}

// What they wait for is time, most of it; together they take no longer than the longest.
describe('the examples of docs/listeners.md', { concurrency: true }, () => {
  it('open a stream over the binary protocol and fetch the same key at both nodes', async () => {
    const [opened, joined, first, second, ...closed] = from(
      await linesOf('binary', 'ask 127.0.0.1'),
      /^status /,
    );
    assert.match(opened ?? '', /^status 00000000, KSID [0-9a-f]{32}$/);
    assert.equal(joined, '00000000');
    assert.match(first ?? '', /^000000000000000000000020[0-9a-f]{64}$/);
    assert.equal(second, first);
    assert.deepEqual(closed, ['00000000', '00000000']);
  });

  it('do the same over gRPC by keyweave call, and by grpcurl and Python where they are', async (t) => {
    const lines = from(await linesOf('grpc', 'bin/keyweave call'), /keyStreamId/);
    const [joined, first, second, closed] = lines.map((line) => JSON.parse(line));
    assert.match(joined.keyStreamId, /^[0-9a-f-]{36}$/);
    assert.equal(Buffer.from(first.keys[0].key, 'base64').length, 32);
    assert.deepEqual([first.keys[0].index, second.keys[0]], [0, first.keys[0]]);
    assert.deepEqual(closed, {});

    const grpcurl = await findGrpcurl();
    if ('missing' in grpcurl) t.diagnostic(`the example of grpcurl was left out: ${grpcurl.missing}`);
    else {
      const told = (await linesOf('grpc', 'grpcurl $tls', grpcurl.folder)).join('\n');
      for (const words of [
        /^grpc\.health\.v1\.Health$/m,
        /^keyweave\.v1\.KeyDelivery$/m,
        /^rpc GetKeys \( \.keyweave\.v1\.GetKeysRequest \)/m,
        /"status": "SERVING"/,
        /^ {2}"keyStreamId": "[0-9a-f-]{36}"/m,
        /^ {2}"streams": \[\n {4}\{\n {6}"keyStreamId": /m,
      ])
        assert.match(told, words);
    }

    if (!(await succeeds('python3', ['-c', 'import grpc_tools'])))
      return t.diagnostic('the example of Python was left out: there is no grpcio-tools');
    const told = await linesOf('grpc', 'grpc_tools');
    assert.deepEqual(
      told.slice(0, 10),
      Array.from({ length: 10 }, (_, i) => `${i} True`),
    );
    assert.match(told[10] ?? '', /^StatusCode\.INVALID_ARGUMENT /);
  });

  it('deliver a key to two SAEs over REST, once to each', async () => {
    const lines = from(await linesOf('rest', 'sae()'), /X509v3 Subject Alternative Name/);
    assert.match(lines[1] ?? '', /URI:spiffe:\/\/keyweave\/client\/billing/);
    const [status, given, taken, again, openapi] = lines.slice(2);
    assert.equal(JSON.parse(status ?? '').slave_SAE_ID, 'archive');
    assert.deepEqual(JSON.parse(taken ?? ''), JSON.parse(given ?? ''));
    assert.equal(Buffer.from(JSON.parse(given ?? '').keys[0].key, 'base64').length, 32);
    assert.match(JSON.parse(again ?? '').message, /not found/);
    assert.match(openapi ?? '', /^\{"openapi":"3/);
  });

  it('deliver a key to two routers over SKIP, by certificates and by pre-shared keys', async () => {
    const lines = from(await linesOf('skip', 'router()'), /^\{"entropy/);
    const [capabilities, given, taken, again, entropy] = lines.map((line) => JSON.parse(line));
    assert.equal(capabilities.localSystemID, 'router-a');
    assert.deepEqual(taken, given);
    assert.match(given.key, /^[0-9a-fA-F]{64}$/);
    assert.match(again.message, /not known/);
    assert.equal(entropy.minentropy, 128);
    const [one, other] = (await linesOf('skip', 'psk()')).filter(Boolean).map((line) => JSON.parse(line));
    assert.deepEqual(other, one);
    assert.match(one.key, /^[0-9a-fA-F]{64}$/);
  });

  it('are all run', () => {
    const run = [
      'ask 127.0.0.1',
      'bin/keyweave call',
      'grpcurl $tls',
      'sae()',
      'openssl rand',
      'router()',
      'psk()',
      'grpc_tools',
    ];
    for (const example of DOORS.flatMap(examplesOf)) {
      const known = run.filter((what) => example.includes(what));
      assert.equal(known.length, 1, example);
    }
  });
});
