import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.ts';
import type { Engine } from './engine.ts';
import { removeMountsBelow } from './mounts.ts';

const HOME = fileURLToPath(new URL('../../', import.meta.url));
const CACHE = join(HOME, '.cache', 'containers');
const PULL_LIMIT_MS = 60_000;
/** A minute, or many on a machine that builds something else meanwhile. */
const BOOTSTRAP_LIMIT_MS = 1_800_000;

/** Certificates that this machine trusts; a build behind a proxy of its own needs them too. */
const HOST_CA_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';

/** Images that stand in for one of this name say so. */
const STAND_IN_LABEL = 'keyweave.stand-in';

/** The base image that the Dockerfile names. */
export function baseImage(): string {
  const match = /^ARG NODE_IMAGE=(\S+)$/m.exec(readFileSync(join(HOME, 'deploy', 'Dockerfile'), 'utf8'));
  if (!match?.[1]) throw new Error('deploy/Dockerfile names no base image');
  return match[1];
}

/**
 * Sees to it that the engine has the Dockerfile's base image: it is there, it
 * can be pulled, or a stand-in of Debian's packages and npm's Node takes its name.
 * Gives a word on which it was.
 */
export async function ensureBaseImage(engine: Engine): Promise<string> {
  const name = baseImage();
  if (await engine.succeeds(['image', 'inspect', name])) return `${name} was there`;
  if (await engine.succeeds(['pull', '--quiet', name], { limitMs: PULL_LIMIT_MS }))
    return `${name} was pulled`;
  const archive = join(CACHE, `base-${process.version}.tar`);
  if (!existsSync(archive)) await makeRootFileSystem(archive);
  const settings = ['ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'CMD ["node"]'];
  const changes = [...settings, `LABEL ${STAND_IN_LABEL}=true`].flatMap((change) => ['--change', change]);
  await engine.run(['import', ...changes, archive, name]);
  return `a stand-in of Debian's packages took the name of ${name}, which cannot be pulled`;
}

/** Debian bookworm, small, with Node and npm where the official image has them. */
async function makeRootFileSystem(archive: string): Promise<void> {
  const root = join(CACHE, 'root');
  // One that was killed leaves its /proc mounted there.
  await removeMountsBelow(root);
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  const packages = '--include=libatomic1,ca-certificates';
  await run('debootstrap', ['--variant=minbase', packages, 'bookworm', root], {
    limitMs: BOOTSTRAP_LIMIT_MS,
  });
  rmSync(join(root, 'var/cache/apt/archives'), { recursive: true, force: true });
  rmSync(join(root, 'var/lib/apt/lists'), { recursive: true, force: true });
  rmSync(join(root, 'usr/share/doc'), { recursive: true, force: true });
  rmSync(join(root, 'usr/share/locale'), { recursive: true, force: true });
  mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
  copyFileSync(process.execPath, join(root, 'usr/local/bin/node'));
  const npmVersion = await run('npm', ['--version']);
  await run('npm', ['install', '--global', `--prefix=${join(root, 'usr/local')}`, `npm@${npmVersion}`]);
  await useHostsRegistry(root);
  await run('chroot', [root, 'groupadd', '--gid', '1000', 'node']);
  await run('chroot', [root, 'useradd', '--uid', '1000', '--gid', '1000', '--create-home', 'node']);
  await run('tar', ['--create', '--numeric-owner', `--file=${archive}`, `--directory=${root}`, '.']);
  rmSync(root, { recursive: true, force: true });
}

/** What a build of this machine needs to reach the package registry: never part of the product's Dockerfile. */
async function useHostsRegistry(root: string): Promise<void> {
  const registry = await run('npm', ['config', 'get', 'registry']);
  const npmrc = join(root, 'usr/local/etc/npmrc');
  mkdirSync(dirname(npmrc), { recursive: true });
  const lines = [`registry=${registry}`];
  if (existsSync(HOST_CA_BUNDLE)) {
    copyFileSync(HOST_CA_BUNDLE, join(root, HOST_CA_BUNDLE));
    lines.push(`cafile=${HOST_CA_BUNDLE}`);
  }
  writeFileSync(npmrc, `${lines.join('\n')}\n`);
}

/** Takes a stand-in away again, so that nobody takes it for the image whose name it bears. */
export async function removeStandIn(engine: Engine): Promise<void> {
  const name = baseImage();
  const { stdout } = await engine.attempt(['image', 'inspect', '--format', '{{json .Config.Labels}}', name]);
  if (stdout.includes(STAND_IN_LABEL)) await engine.attempt(['image', 'rm', '--force', name]);
}
