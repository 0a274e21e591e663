import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createCa, issueServiceCertificate } from '#certs/issue.ts';
import { type CommandOutcome, runCommand, startCommand } from '#test/helpers/command.ts';
import {
  eventually,
  type LocalNetwork,
  type LocalNode,
  openData,
  startLocalNetwork,
} from '#test/helpers/network.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-driver-'));
let network: LocalNetwork;
let alice: LocalNode;
let bob: LocalNode;
/** Arguments of a client of the network, and of one of another CA. */
let trust: string[];
let identity: string[];
let strange: string[];

before(async () => {
  network = await startLocalNetwork({
    names: ['Alice', 'Bob'],
    config: (name) => ({ listeners: { json: { tls: name === 'Alice' ? 'server' : 'mutual' } } }),
  });
  [alice, bob] = network.nodes as [LocalNode, LocalNode];
  const caPath = join(network.folder, 'ca', 'ca.crt');
  const ca = {
    certificate: readFileSync(caPath, 'utf8'),
    key: readFileSync(join(network.folder, 'ca', 'ca.key'), 'utf8'),
  };
  const issued = await issueServiceCertificate({
    ca,
    network: 'keyweave',
    nodeUuid: bob.uuid,
    service: 'tool',
    names: [],
    days: 1,
  });
  writeFileSync(join(folder, 'tool.crt'), issued.certificate);
  writeFileSync(join(folder, 'tool.key'), issued.key);
  writeFileSync(join(folder, 'other.crt'), (await createCa({ network: 'keyweave', days: 1 })).certificate);
  trust = ['--ca', caPath];
  identity = ['--cert', join(folder, 'tool.crt'), '--key', join(folder, 'tool.key')];
  strange = ['--ca', join(folder, 'other.crt')];
});
after(async () => {
  await network?.stop();
  rmSync(folder, { recursive: true });
});

const addressOf = ({ json }: LocalNode) => ['--address', `${json.host}:${json.port}`];

/** Writes an OPEN_CONNECT between the two nodes; gives its path. */
function request(name: string, query?: string, qos: Parameters<typeof openData>[3] = {}): string {
  const path = join(folder, `${name}.json`);
  writeFileSync(path, JSON.stringify({ command: 'OPEN_CONNECT', data: openData(alice, bob, query, qos) }));
  return path;
}

/** The same at both nodes at once. */
function atBoth(args: readonly string[]): Promise<[CommandOutcome, CommandOutcome]> {
  return Promise.all([
    runCommand([...args, ...addressOf(alice), ...trust]),
    runCommand([...args, ...addressOf(bob), ...trust, ...identity]),
  ]);
}

const digests = (text: string) => [...text.matchAll(/SHA-256 ([0-9a-f]{16})/g)].map(([, digest]) => digest);

describe('the driver', () => {
  it("speaks the listeners' TLS and mutual TLS, and gets equal keys", async () => {
    const [a, b] = await atBoth(['driver', request('plain'), '--keys', '3']);
    assert.deepEqual([a.code, b.code], [0, 0], `${a.stderr}${b.stderr}`);
    assert.equal(digests(a.stdout).length, 3);
    assert.deepEqual(digests(a.stdout), digests(b.stdout));
    assert.match(
      a.stdout,
      /^OPEN_CONNECT: status 0, key_stream_id [0-9a-f-]{36}\nGET_KEY: status 0, index \d+, /,
    );
    assert.match(a.stdout, /\nCLOSE: status 0\n$/);
  });

  it('tells the status of an adjusted QoS, as JSON too', async () => {
    const path = request('adjusted', undefined, { key_chunk_size: 48 });
    const [a, b] = await atBoth(['driver', path]);
    for (const { code, stdout } of [a, b]) {
      assert.equal(code, 0);
      assert.match(
        stdout,
        /^OPEN_CONNECT: status 7, key_stream_id .*, key_chunk_size 48 cannot be given, 32 can/,
      );
    }
    const [c, d] = (await atBoth(['driver', path, '--json'])).map(({ stdout }) => JSON.parse(stdout));
    assert.deepEqual([c.ok, c.calls[0].status, c.calls[0].qos.key_chunk_size], [true, 7, 32]);
    assert.equal(c.calls[1].sha256, d.calls[1].sha256);
    assert.equal(c.calls[1].key, undefined);
  });

  it('does so n at a time, with a line of JSON each', async () => {
    const [a, b] = await atBoth(['bulk-driver', '5', request('bulk'), '--json', '--keys', '2']);
    const rows = [a, b].map(({ stdout }) =>
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { ok: boolean; calls: { sha256?: string }[] }),
    );
    for (const reports of rows)
      assert.deepEqual(
        reports.map(({ ok }) => ok),
        Array(5).fill(true),
      );
    const [atA, atB] = rows.map((reports) =>
      reports.flatMap(({ calls }) => calls.flatMap(({ sha256 }) => sha256 ?? [])).sort(),
    );
    assert.equal(atA?.length, 10);
    assert.deepEqual(atA, atB);
  });

  it('ends by the kind of failure', async () => {
    const good = request('good');
    const nowhere = ['--address', '127.0.0.1:1'];
    const unknown = request('unknown', 'hybridization=xoring&key_sources=ML-KEM-42,QKD');
    for (const [what, code, words, args] of [
      [
        'keys that are none, before anything else',
        2,
        /--keys must be/,
        ['nowhere.json', '--keys', '0', ...nowhere],
      ],
      ['an address that is none', 2, /not an address/, [good, '--address', 'x']],
      ['an option that is none', 2, /unknown option/, [good, '--kyes', '1']],
      ['TLS without a CA', 2, /--ca is needed/, [good, ...identity]],
      ['a certificate without its key', 2, /go together/, [good, ...trust, ...identity.slice(0, 2)]],
      ['a request that is not there', 3, /nowhere\.json: cannot be read/, ['nowhere.json', ...nowhere]],
      ['a request that is none', 3, /not an OPEN_CONNECT/, [join(alice.folder, 'config.json'), ...nowhere]],
      ['a CA that is not there', 3, /cannot be read/, [good, '--ca', join(folder, 'nowhere'), ...nowhere]],
      ['nobody at the address', 5, /no node answers.*ECONNREFUSED/, [good, ...nowhere]],
      ['plain TCP to TLS', 5, /got no answer/, [good, ...addressOf(alice)]],
      ['another CA', 5, /TLS with .* fails/, [good, ...addressOf(alice), ...strange]],
      [
        'another name',
        5,
        /TLS with .* fails.*eve/,
        [good, ...addressOf(alice), ...trust, '--server-name', 'eve'],
      ],
      [
        'no certificate where one is asked for',
        5,
        /OPEN_CONNECT at|TLS with/,
        [good, ...addressOf(bob), ...trust],
      ],
      [
        'a refusal',
        6,
        /OPEN_CONNECT was answered with status 7: .*ML-KEM-42/,
        [unknown, ...addressOf(alice), ...trust],
      ],
    ] as const) {
      const outcome = await runCommand(['driver', ...args]);
      assert.equal(outcome.code, code, `${what}: ${outcome.stderr}`);
      assert.match(outcome.stderr, words, what);
      assert.doesNotMatch(outcome.stderr, /\n\s+at /, what);
    }
  });

  it('closes what it has opened when it is interrupted', async () => {
    // One key a second: the second GET_KEY waits when the signal comes.
    const path = request('interrupted', undefined, { max_bps: 256, timeout: 60_000 });
    const { data } = JSON.parse(readFileSync(path, 'utf8')) as { data: ReturnType<typeof openData> };
    const tls = {
      ca: readFileSync(trust[1] as string),
      cert: readFileSync(identity[1] as string),
      key: readFileSync(identity[3] as string),
    };
    const other = await Etsi004Client.connect(bob.json, tls);
    const driver = startCommand(['driver', path, '--keys', '1000', ...addressOf(alice), ...trust]);
    const { key_stream_id: ksid = '', message } = await other.open(data);
    assert.notEqual(ksid, '', message);
    let said = '';
    driver.process.stdout?.on('data', (text: string) => {
      said += text;
    });
    await eventually('there is a key', 20_000, async () =>
      said.includes('GET_KEY: status 0') ? true : undefined,
    );
    driver.process.kill('SIGINT');
    const { code, stderr, stdout } = await driver.outcome;
    assert.equal(code, 130, stderr);
    assert.equal(stderr, 'keyweave: interrupted, closing what is open\n');
    assert.doesNotMatch(stdout, /CLOSE/);
    await eventually('the other end learns of it', 5_000, async () =>
      (await other.getKey(ksid)).status === 3 ? true : undefined,
    );
    other.disconnect();
  });
});
