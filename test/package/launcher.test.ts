import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { attempt } from '../containers/command.ts';

/** An empty folder that ends with its test. */
function folderFor(test: { after: (done: () => void) => void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-launcher-'));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A stand-in for Node that tells its version, and what it was asked to run. */
function plantNode(path: string, version: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const body =
    version === '' ? 'exit 127' : `[ "$1" = --version ] && echo v${version} || echo "${version} ran $*"`;
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
}

/** The package as npm lays it out in `folder`; gives the command that npm links. */
function plantPackage(folder: string): string {
  const home = join(folder, 'node_modules', 'keyweave');
  mkdirSync(join(home, 'bin'), { recursive: true });
  copyFileSync(`${HOME}bin/keyweave`, join(home, 'bin', 'keyweave'));
  mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true });
  const command = join(folder, 'node_modules', '.bin', 'keyweave');
  symlinkSync('../keyweave/bin/keyweave', command);
  return command;
}

const start = (command: string, onPath: string) =>
  attempt(command, ['demo'], { env: { PATH: `${onPath}:/usr/bin:/bin` } });

describe('the command of the package', () => {
  it('takes the Node on PATH exactly where package.json says that it is new enough', async (t) => {
    const folder = folderFor(t);
    const command = plantPackage(folder);
    plantNode(join(folder, 'node_modules', '.bin', 'node'), '26.10.0');
    const { engines } = JSON.parse(readFileSync(`${HOME}package.json`, 'utf8')) as {
      engines: { node: string };
    };
    const onPath = join(folder, 'path');
    const versions = [
      '18.20.0',
      '20.20.2',
      '22.23.5',
      '24.0.0',
      '24.7.0',
      '24.18.1',
      '24.19.0',
      '24.22.3',
    ].concat(['25.0.0', '25.9.0', '26.0.0', '26.4.0', '26.5.0', '26.10.0', '27.0.0', '30.1.0']);
    const taken: string[] = [];
    for (const version of versions) {
      plantNode(join(onPath, 'node'), version);
      const { stdout } = await start(command, onPath);
      if (stdout.startsWith(`${version} ran`) && version !== '26.10.0') taken.push(version);
      else assert.match(stdout, /^26\.10\.0 ran .*dist\/services\/cli\/main\.js demo\n$/, version);
    }
    assert.deepEqual(
      taken,
      versions.filter((version) => version !== '26.10.0' && satisfies(version, engines.node)),
    );
  });

  it('takes the one inside its own folder, as a global install puts it', async (t) => {
    const folder = folderFor(t);
    const command = plantPackage(folder);
    plantNode(join(folder, 'node_modules', 'keyweave', 'node_modules', '.bin', 'node'), '26.10.0');
    plantNode(join(folder, 'path', 'node'), '20.20.2');
    const { stdout } = await start(command, join(folder, 'path'));
    assert.match(stdout, /^26\.10\.0 ran /);
  });

  it('says in words what there was where none is new enough or starts', async (t) => {
    const folder = folderFor(t);
    const command = plantPackage(folder);
    plantNode(join(folder, 'path', 'node'), '20.20.2');
    plantNode(join(folder, 'node_modules', '.bin', 'node'), '');
    const { code, stderr } = await start(command, join(folder, 'path'));
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^keyweave: needs Node .*path\/node v20\.20\.2; .*\.bin\/node does not start\. .*\n$/,
    );
    assert.match(stderr, /omit optional/);
  });
});

/** Enough of npm's ranges for ours: `^a.b.c` and `>=a.b.c`, joined by `||`. */
function satisfies(version: string, range: string): boolean {
  return range.split('||').some((part) => {
    const [, sign, floor = ''] = /^\s*(\^|>=)(\d+\.\d+\.\d+)\s*$/.exec(part) ?? [];
    assert.ok(sign, `a range that this test does not know: ${part}`);
    const sameLine = version.split('.')[0] === floor.split('.')[0];
    return version.localeCompare(floor, 'en', { numeric: true }) >= 0 && (sign === '>=' || sameLine);
  });
}
