import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { HOME } from '#common/service/installation.ts';
import { attempt, succeeds } from '../containers/command.ts';

const UNIT = readFileSync(`${HOME}deploy/systemd/keyweave.service`, 'utf8');
const PAGE = readFileSync(`${HOME}docs/systemd.md`, 'utf8');

/** Of 10; what is left is the network, the JavaScript compiler and thread priorities. */
const MOST_EXPOSURE = 1.5;

const settings = (name: string) =>
  [...UNIT.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => value);

describe('the systemd unit', () => {
  it('gives the node every certificate and key as a credential, and the shared seeds', () => {
    const given = settings('LoadCredential').map((value) => value.split(':')[0]);
    const wanted = SERVICE_NAMES.flatMap((name) => [`${name}.crt`, `${name}.key`]);
    assert.deepEqual(given.sort(), ['ca.crt', 'trusted_peers_info.json', ...wanted].sort());
    assert.deepEqual(settings('ExecStart'), [
      '/opt/keyweave/bin/keyweave node --config /etc/keyweave/config.json --peers %d/trusted_peers_info.json',
    ]);
  });

  it('runs as nobody that exists, with nothing to write to, without core dumps and swap', () => {
    for (const [name, value] of [
      ['DynamicUser', 'yes'],
      ['ProtectSystem', 'strict'],
      ['CapabilityBoundingSet', ''],
      ['LimitCORE', '0'],
      ['MemorySwapMax', '0'],
    ] as const)
      assert.deepEqual(settings(name), [value], name);
  });

  it('is explained with the paths that it uses', () => {
    for (const path of ['/opt/keyweave', '/etc/keyweave/certs', '/run/credentials/keyweave.service/'])
      assert.ok(PAGE.includes(path), path);
  });

  it('is sound and well closed in the judgement of systemd, where there is one', async (t) => {
    if (!(await succeeds('systemd-analyze', ['--version']))) {
      t.diagnostic('there is no systemd-analyze on this machine');
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'keyweave-unit-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'keyweave.service');
    writeFileSync(path, UNIT.replace('/opt/keyweave/bin/keyweave', `${HOME}bin/keyweave`));
    const verified = await attempt('systemd-analyze', ['verify', '--man=no', path]);
    assert.deepEqual([verified.code, verified.stdout, verified.stderr], [0, '', '']);
    const { stdout } = await attempt('systemd-analyze', ['security', '--offline=true', '--no-pager', path]);
    const exposure = Number(/Overall exposure level for keyweave\.service: ([0-9.]+)/.exec(stdout)?.[1]);
    assert.ok(exposure <= MOST_EXPOSURE, `exposure ${exposure}`);
  });
});
