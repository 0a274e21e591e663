import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HOME } from '#common/service/installation.ts';
import { install, NoEngineError, startEngine } from '../containers/engine.ts';
import { NEEDED } from './cluster/host.ts';
import { OneNodeCluster } from './cluster/one-node.ts';
import { buildPrograms, NoClusterError, needGo, PROGRAMS } from './cluster/programs.ts';
import { buildImages, type ImageArchives, REPOSITORY } from './images.ts';
import { findTool } from './tools.ts';

/** In this order, in the same releases: each leaves them as it found them, up to `uninstall`; the page makes its own. */
const SUITES = ['install', 'upgrades', 'replicas', 'configuration', 'uninstall', 'page'] as const;

let interrupted = false;
/** The suite that runs. */
let running: ChildProcess | undefined;

function progress(text: string): void {
  process.stderr.write(`kubernetes: ${text}\n`);
}

/** What the suites need to know of a cluster. */
interface Cluster {
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** The cluster that KUBECONFIG names, whose nodes can get the image. */
async function givenCluster(kubeconfig: string): Promise<Cluster> {
  const image = process.env.KEYWEAVE_IMAGE;
  if (!image) throw new Error('KUBECONFIG is set: KEYWEAVE_IMAGE must name an image that its nodes can get');
  progress(`the cluster of ${kubeconfig}, with ${image}`);
  const [, repository = image, tag = 'latest'] = /^(.+?)(?::([\w.-]+))?$/.exec(image) ?? [];
  const next = process.env.KEYWEAVE_NEXT_TAG ?? tag;
  const kubectl = await findTool('kubectl');
  return {
    env: { KEYWEAVE_REPOSITORY: repository, KEYWEAVE_TAG: tag, KEYWEAVE_NEXT_TAG: next, KUBECTL: kubectl },
    stop: async () => {},
  };
}

/** One of this machine's own, built where needed. @throws NoClusterError, NoEngineError */
async function ownCluster(): Promise<Cluster> {
  if (process.getuid?.() !== 0) throw new NoClusterError('a cluster of this machine needs root');
  if (process.platform !== 'linux') throw new NoClusterError('a cluster of this machine needs Linux');
  if (!existsSync(PROGRAMS)) await needGo();
  const building = performance.now();
  // The engine first: without one the build of minutes would be for nothing. Debian's brings containerd, too.
  const engine = await startEngine();
  let images: ImageArchives;
  try {
    await install(NEEDED);
    const built = await buildPrograms(progress);
    progress(built ? `Kubernetes was built in ${seconds(building)} s` : 'Kubernetes was there');
    images = await buildImages(engine, progress);
  } finally {
    await engine.stop();
  }
  progress(`the image is there after ${seconds(building)} s`);
  const starting = performance.now();
  const cluster = await OneNodeCluster.start(images.pause);
  try {
    await cluster.load(images.keyweave);
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  progress(`the cluster was up after ${seconds(starting)} s`);
  return {
    env: {
      ...{ KUBECONFIG: cluster.kubeconfig, KUBECTL: `${PROGRAMS}/kubectl` },
      ...{ KEYWEAVE_REPOSITORY: REPOSITORY, KEYWEAVE_TAG: 'test', KEYWEAVE_NEXT_TAG: 'next' },
    },
    stop: () => cluster.stop(),
  };
}

async function runSuites(env: Readonly<Record<string, string>>, only: readonly string[]): Promise<number> {
  let failed = 0;
  for (const suite of SUITES.filter((name) => only.length === 0 || only.includes(name))) {
    if (interrupted) throw new Error('interrupted');
    const started = performance.now();
    const code = await runSuite(suite, env);
    progress(`${suite}: ${code === 0 ? 'passed' : 'FAILED'} after ${seconds(started)} s`);
    if (code !== 0) failed++;
    // Without releases the others would only fail, one after the other.
    if (code !== 0 && suite === 'install') break;
  }
  return failed === 0 ? 0 : 1;
}

function runSuite(suite: string, env: Readonly<Record<string, string>>): Promise<number> {
  const file = fileURLToPath(new URL(`${suite}.test.ts`, import.meta.url));
  return new Promise((resolve, reject) => {
    running = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--test', file], {
      cwd: HOME,
      env: { ...process.env, ...env },
      stdio: 'inherit',
    });
    running.once('error', reject);
    running.once('close', (code) => resolve(code ?? 1));
  });
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1000).toFixed(0);
}

/** Brings a cluster up and keeps it until it is interrupted: for trying things by hand. */
async function keepUp({ env }: Cluster): Promise<void> {
  progress('up until Ctrl-C; in another terminal:');
  for (const [name, value] of Object.entries(env)) process.stdout.write(`export ${name}=${value}\n`);
  const timer = setInterval(() => undefined, 60_000);
  await new Promise<void>((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve));
  clearInterval(timer);
}

async function main(args: readonly string[]): Promise<number> {
  if (args[0] === 'down') {
    await OneNodeCluster.removeLeftovers();
    return 0;
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      interrupted = true;
      progress('interrupted; removing what was made');
      // Ctrl-C reaches the suite, too; another signal may not.
      running?.kill(signal);
    });
  const started = performance.now();
  let cluster: Cluster;
  try {
    const { KUBECONFIG } = process.env;
    cluster = KUBECONFIG ? await givenCluster(KUBECONFIG) : await ownCluster();
  } catch (error) {
    const isReason = error instanceof NoClusterError || error instanceof NoEngineError;
    if (!isReason || interrupted) throw error;
    progress(`SKIPPED: ${(error as Error).message}`);
    return 0;
  }
  try {
    const helm = await findTool('helm');
    if (args[0] === 'up') {
      await keepUp({ ...cluster, env: { ...cluster.env, HELM: helm } });
      return 0;
    }
    return await runSuites({ ...cluster.env, HELM: helm }, args);
  } finally {
    await cluster.stop();
    progress(`done after ${seconds(started)} s`);
  }
}

process.exitCode = await main(process.argv.slice(2));
