import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { attempt } from '../containers/command.ts';
import { openData } from '../helpers/network.ts';
import { execArgs, makeApplicationsPod } from './cluster-load.ts';
import { attemptKubectl, HELM, isReady, KUBECTL, kubectl } from './kubernetes.ts';
import {
  APPLICATIONS,
  CERTIFICATES,
  execIn,
  helm,
  helmOrThrow,
  issueCertificates,
  loaded,
  makeNamespace,
  pods,
  RELEASES,
  type Release,
  settled,
} from './releases.ts';

const FIRST_KEY_LIMIT_MS = 60_000;
const [alice, bob, charlie] = RELEASES;

const addressOf = (release: Release) => {
  const { host, port } = loaded(release).json;
  return `${host}:${port}`;
};

/** An OPEN_CONNECT between two nodes. */
const request = (a: Release, b: Release) => JSON.stringify({ command: 'OPEN_CONNECT', data: openData(a, b) });

/** A driver of both ends in the pod of the applications. */
const driver = (a: Release, b: Release, ...options: string[]) =>
  attemptKubectl(
    execArgs(
      'keyweave',
      'driver',
      '-',
      `--address=${addressOf(a)}`,
      `--peer-address=${addressOf(b)}`,
      ...options,
    ),
    { input: request(a, b) },
  );

before(async () => {
  rmSync(CERTIFICATES, { recursive: true, force: true });
  for (const release of RELEASES) {
    await makeNamespace(release.namespace);
    await issueCertificates(release);
  }
  await makeNamespace(APPLICATIONS);
  await makeApplicationsPod();
});

describe('two releases with the defaults, in namespaces that enforce restricted', () => {
  it('are taken by the API server without a warning', async () => {
    for (const release of [alice, bob]) {
      // The pod of 'helm test' needs the account that is not there yet; it is admitted below.
      const rendered = await helmOrThrow('template', release, '--set=test.peer.host=');
      const args = [
        'apply',
        '--dry-run=server',
        '--validate=strict',
        `--namespace=${release.namespace}`,
        '--filename=-',
      ];
      const { code, stderr } = await attemptKubectl(args, { input: rendered });
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    }
  });

  it(`give equal keys within ${FIRST_KEY_LIMIT_MS / 1000} s of the first helm install`, async (test) => {
    const started = performance.now();
    const installed = await Promise.all([helm('install', alice), helm('install', bob)]);
    for (const { code, stderr } of installed) assert.equal(code, 0, stderr);
    for (const { stderr } of installed) assert.doesNotMatch(stderr, /warning/i);
    assert.match(installed[0]?.stdout ?? '', /THE KEY MANAGER IS SIMULATED/);
    assert.doesNotMatch(installed[1]?.stdout ?? '', /SIMULATED/);
    let last = '';
    for (;;) {
      const { code, stdout, stderr } = await driver(alice, bob);
      last = `${stdout}${stderr}`;
      if (code === 0) break;
      assert.ok(performance.now() - started < FIRST_KEY_LIMIT_MS, last);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    const tookMs = performance.now() - started;
    test.diagnostic(`first equal key after ${(tookMs / 1000).toFixed(1)} s`);
    assert.match(last, /equal keys at both nodes/);
    assert.ok(tookMs < FIRST_KEY_LIMIT_MS);
  });

  it('get ready, every pod', async () => {
    for (const release of [alice, bob]) {
      await settled(release);
      const all = await pods(release);
      assert.equal(all.length, release === alice ? 10 : 9);
      for (const pod of all) {
        assert.ok(isReady(pod));
        assert.ok(
          pod.status.containerStatuses?.every(({ restartCount }) => restartCount === 0),
          pod.metadata.name,
        );
      }
    }
  });

  it("pass 'helm test': OPEN_CONNECT, GET_KEY and CLOSE at both, the keys compared", async () => {
    for (const release of [alice, bob]) {
      const { code, stdout, stderr } = await attempt(HELM, [
        'test',
        release.name,
        '--namespace',
        release.namespace,
        '--logs',
      ]);
      assert.equal(code, 0, `${stdout}${stderr}`);
      for (const words of [
        'OPEN_CONNECT: status 0',
        'peer: GET_KEY: status 0',
        'CLOSE: status 0',
        'equal keys at both nodes',
      ])
        assert.ok(stdout.includes(words), stdout);
    }
  });

  it('serve a third one, installed beside them, and drivers and bulk drivers in a pod', async () => {
    await helmOrThrow('install', charlie, '--wait', '--timeout=120s');
    for (const [a, b] of [
      [alice, charlie],
      [bob, charlie],
    ] as const) {
      const { code, stdout, stderr } = await driver(a, b, '--keys=5');
      assert.equal(code, 0, `${stdout}${stderr}`);
      assert.equal(stdout.match(/^GET_KEY: status 0/gm)?.length, 5);
    }
    const input = request(alice, bob);
    const bulk = (release: Release) =>
      attemptKubectl(
        execArgs('keyweave', 'bulk-driver', '20', '-', `--address=${addressOf(release)}`, '--json'),
        {
          input,
        },
      );
    const [a, b] = await Promise.all([bulk(alice), bulk(bob)]);
    assert.deepEqual([a.code, b.code], [0, 0], `${a.stderr}${b.stderr}`);
    const keys = ({ stdout }: typeof a) =>
      [...stdout.matchAll(/"sha256":"([0-9a-f]+)"/g)].map(([, key]) => key).sort();
    assert.equal(keys(a).length, 20);
    assert.deepEqual(keys(a), keys(b));
  });
});

describe('every container', () => {
  it('runs without root, without a token, and with a root that cannot be written', async () => {
    const script = `
      const fs = require('node:fs'), out = {};
      out.uid = process.getuid();
      for (const path of ['/x', '/app/x', '/app/.cache/x', '/run/keyweave/x', '/etc/keyweave/x', '/tmp/x'])
        try { fs.writeFileSync(path, ''); out.written = path; } catch ({ code }) { out[code] = true; }
      out.token = fs.existsSync('/var/run/secrets/kubernetes.io');
      out.capabilities = /CapEff:\\s*(\\w+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1];
      console.log(JSON.stringify(out));`;
    for (const component of [...SERVICE_NAMES, 'kme-simulator']) {
      // Without Node's own permission model, which would answer first.
      const { stdout, stderr } = await execIn(alice, component, [
        'env',
        'NODE_OPTIONS=',
        'node',
        '--eval',
        script,
      ]);
      const { uid, written, token, capabilities } = JSON.parse(stdout || '{}');
      assert.deepEqual(
        { uid, written, token, capabilities },
        { uid: 1000, written: undefined, token: false, capabilities: '0000000000000000' },
        `${component}: ${stdout}${stderr}`,
      );
    }
  });

  it('is refused where it asks for more than restricted allows', async () => {
    const { code, stderr } = await attempt(KUBECTL, [
      ...['run', 'greedy', `--namespace=${alice.namespace}`, '--image=x'],
    ]);
    assert.notEqual(code, 0);
    assert.match(stderr, /violates PodSecurity "restricted/);
  });

  it('says on its health port that it is ready, and says where its name leads', async () => {
    const text = await kubectl('get', 'endpointslices', `--namespace=${alice.namespace}`, '--output=json');
    const slices = (
      JSON.parse(text) as { items: { metadata: { labels: Record<string, string> }; endpoints: unknown[] }[] }
    ).items;
    const count = (service: string) =>
      slices
        .filter(({ metadata }) => metadata.labels['kubernetes.io/service-name'] === service)
        .flatMap(({ endpoints }) => endpoints ?? []).length;
    for (const service of SERVICE_NAMES)
      assert.equal(count(`alice-keyweave-${service}`), service === 'gateway' ? 1 : 2, service);
    assert.deepEqual([count('alice-keyweave'), count('alice-keyweave-peers')], [1, 2]);
  });
});
