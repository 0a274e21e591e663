import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { run } from '../containers/command.ts';
import { type Judgement, RECOVERY_LIMIT_MS } from '../helpers/load-judge.ts';
import { ClusterLoad } from './cluster-load.ts';
import { HELM, isReady, kubectl, until } from './kubernetes.ts';
import {
  CERTIFICATES,
  execIn,
  helm,
  helmOrThrow,
  issueCertificates,
  pods,
  RELEASES,
  settled,
} from './releases.ts';

/** Kubelets look at Secrets once a minute by default. */
const SECRET_LIMIT_MS = 150_000;
const START_LIMIT_MS = 60_000;
const [alice, bob] = RELEASES;

let load: ClusterLoad;

before(async () => {
  for (const release of RELEASES) await settled(release);
  load = await ClusterLoad.start([[alice, bob]]);
});
after(() => load?.stop('configuration'));

function assertUntouched({ breaches, recoveryMs, lost, failed }: Judgement): void {
  assert.deepEqual(breaches, []);
  assert.deepEqual(lost, []);
  assert.equal(failed, 0);
  assert.ok(recoveryMs !== undefined && recoveryMs <= RECOVERY_LIMIT_MS, `recovery ${recoveryMs} ms`);
}

const uids = async () => new Set((await pods(bob)).map(({ metadata }) => metadata.uid));

/** Serial number of the certificate that a service has in its file, as its pod sees it. */
async function serialIn(service: string): Promise<string> {
  const script = `const {X509Certificate} = require('node:crypto');
    console.log(new X509Certificate(require('node:fs').readFileSync('/run/keyweave/${service}.crt')).serialNumber)`;
  const { stdout } = await execIn(bob, service, ['node', '--eval', script]);
  return stdout.trim();
}

describe('what changes while a release runs, under a load of 50 keys/s', () => {
  it('renewed certificates are taken without a pod replaced or a request lost', async (test) => {
    const before = await uids();
    const judgement = await load.judge(async () => {
      await issueCertificates(bob, true);
      for (const service of SERVICE_NAMES) {
        const issued = join(CERTIFICATES, 'issued', 'bob-keyweave', service, `${service}.crt`);
        const { serialNumber } = new X509Certificate(readFileSync(issued));
        await until(
          `${service} has its file`,
          async () => (await serialIn(service)) === serialNumber,
          SECRET_LIMIT_MS,
        );
        const log = () =>
          kubectl('logs', `--namespace=${bob.namespace}`, `deployment/bob-keyweave-${service}`);
        await until(
          `${service} has taken it`,
          async () => (await log()).includes('certificate reloaded'),
          30_000,
        );
      }
    });
    test.diagnostic(`${judgement.requests} requests meanwhile`);
    assertUntouched(judgement);
    assert.deepEqual(await uids(), before);
  });

  it('peers are read again without a pod replaced', async () => {
    const before = await uids();
    const stranger =
      '--set-json=peers.dddddddd-dddd-dddd-dddd-dddddddddddd={"address":{"host":"dave","port":3001}}';
    const judgement = await load.judge(async () => {
      await helmOrThrow('upgrade', bob, stranger, '--wait', '--timeout=60s');
      const log = () => kubectl('logs', `--namespace=${bob.namespace}`, 'deployment/bob-keyweave-gateway');
      await until(
        'the gateway knows the new peer',
        async () => (await log()).includes('dddddddd-dddd'),
        SECRET_LIMIT_MS,
      );
    });
    assertUntouched(judgement);
    assert.deepEqual(await uids(), before);
  });

  it('a bad configuration stays off: the old pods serve on, the new ones say why', async () => {
    const before = await uids();
    const judgement = await load.judge(async () => {
      const bad = ['--set=config.listeners.json.default_method=rot13', '--wait', '--timeout=20s'];
      const { code, stderr } = await helm('upgrade', bob, ...bad);
      assert.notEqual(code, 0, 'helm took it for good');
      assert.match(stderr, /deadline|not ready|timed out/i);
      for (const service of SERVICE_NAMES) {
        const said = async () => {
          const states = (await pods(bob, service)).flatMap(({ status }) => status.containerStatuses ?? []);
          return states.map(({ lastState }) => lastState.terminated?.message ?? '').join('');
        };
        await until(
          `the new ${service} says why`,
          async () => /default_method/.test(await said()),
          START_LIMIT_MS,
        );
      }
    });
    assertUntouched(judgement);
    const serving = (await pods(bob)).filter(isReady).map(({ metadata }) => metadata.uid);
    assert.deepEqual(new Set(serving), before);
  });

  it('even old pods that are made anew keep the old configuration', async () => {
    const judgement = await load.judge(async () => {
      const [victim] = (await pods(bob, 'hybridizer')).filter(isReady);
      await kubectl(
        'delete',
        'pod',
        `--namespace=${bob.namespace}`,
        '--wait=false',
        victim?.metadata.name ?? '',
      );
      await until(
        'two serve again',
        async () => (await pods(bob, 'hybridizer')).filter(isReady).length === 2,
        START_LIMIT_MS,
      );
    });
    assertUntouched(judgement);
  });

  it('helm rollback takes it back', async () => {
    const judgement = await load.judge(async () => {
      await run(HELM, ['rollback', 'bob', '--namespace', bob.namespace, '--wait', '--timeout=120s']);
      await settled(bob);
    });
    assertUntouched(judgement);
    const history = await run(HELM, ['history', 'bob', '--namespace', bob.namespace]);
    assert.match(history.split('\n').at(-1) ?? '', /deployed.*Rollback/i);
  });
});
