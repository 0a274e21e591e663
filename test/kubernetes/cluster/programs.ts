import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, succeeds } from '../../containers/command.ts';
import { CACHE } from '../tools.ts';

export const KUBERNETES = '1.35.4';
const ETCD = '3.6.6';
const COREDNS = '1.12.4';

const BUILD_LIMIT_MS = 1_800_000;

/** Where the programs of this version are; made once for all checkouts of this machine. */
export const PROGRAMS = join(CACHE, `kubernetes-${KUBERNETES}-etcd-${ETCD}-coredns-${COREDNS}`);

const KUBERNETES_PROGRAMS = [
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
  'kubectl',
] as const;

/** What Kubernetes asks of Go; one that is older and may not fetch this one will not do. */
const GO = '1.25.0';

/** What this machine lacks for a cluster; printed when its tests are left out. */
export class NoClusterError extends Error {}

/** @throws NoClusterError without a Go that builds Kubernetes. */
export async function needGo(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-go-'));
  try {
    writeFileSync(join(folder, 'go.mod'), `module keyweave.example/need\ngo ${GO}\n`);
    if (await succeeds('go', ['list', '-m'], { cwd: folder })) return;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  throw new NoClusterError(`there is no Go ${GO} or newer, which builds Kubernetes`);
}

/**
 * Builds a control plane, kubelet, proxy, etcd and CoreDNS from their Go
 * modules, where they are not there yet: images and releases need hosts that a
 * machine of builds may not reach, modules come through its proxy.
 *
 * @returns whether anything had to be built.
 */
export async function buildPrograms(progress: (text: string) => void): Promise<boolean> {
  if (existsSync(PROGRAMS)) return false;
  const work = mkdtempSync(join(tmpdir(), 'keyweave-kubernetes-'));
  const out = `${PROGRAMS}.${process.pid}.new`;
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  try {
    progress(`building Kubernetes ${KUBERNETES}, which takes minutes`);
    await buildKubernetes(work, out);
    progress('building etcd and CoreDNS');
    await buildModule(work, 'go.etcd.io/etcd/server/v3', ETCD, join(out, 'etcd'));
    await buildCoreDns(work, join(out, 'coredns'));
    await buildPause(work, join(out, 'pause'));
    renameSync(out, PROGRAMS);
  } catch (error) {
    throw new Error(`Kubernetes cannot be built: ${(error as Error).message}`);
  } finally {
    rmSync(out, { recursive: true, force: true });
    rmSync(work, { recursive: true, force: true });
  }
  return true;
}

const GO_ENV = { CGO_ENABLED: '0' };

function go(folder: string, ...args: string[]): Promise<string> {
  return run('go', args, { cwd: folder, env: GO_ENV, limitMs: BUILD_LIMIT_MS });
}

async function buildKubernetes(work: string, out: string): Promise<void> {
  const folder = join(work, 'kubernetes');
  mkdirSync(folder);
  const mod = join(folder, 'go.mod');
  writeFileSync(mod, `module keyweave.example/cluster\ngo ${GO}\nrequire k8s.io/kubernetes v${KUBERNETES}\n`);
  const { Dir } = JSON.parse(
    await go(folder, 'mod', 'download', '-json', `k8s.io/kubernetes@v${KUBERNETES}`),
  ) as {
    Dir: string;
  };
  // Kubernetes replaces its staging modules by folders; the published ones have the same code under v0.
  const own = readFileSync(join(Dir, 'go.mod'), 'utf8');
  const staged = [...own.matchAll(/^\s*(?:replace )?(\S+) => \.\/staging\//gm)].map(([, module]) => module);
  const replaced = staged.map((module) => `replace ${module} => ${module} v0.${KUBERNETES.slice(2)}\n`);
  writeFileSync(mod, readFileSync(mod, 'utf8') + replaced.join(''));
  const packages = KUBERNETES_PROGRAMS.map((name) => `k8s.io/kubernetes/cmd/${name}`);
  // What the programs themselves import; programs cannot be imported.
  const imports = packages.map(
    (path) =>
      `import _ "${path === `k8s.io/kubernetes/cmd/kubectl` ? 'k8s.io/kubectl/pkg/cmd' : `${path}/app`}"\n`,
  );
  writeFileSync(join(folder, 'programs.go'), `package cluster\n${imports.join('')}`);
  await go(folder, 'mod', 'tidy');
  const minor = KUBERNETES.split('.')[1];
  const version = ['gitVersion', `v${KUBERNETES}`, 'gitMajor', '1', 'gitMinor', minor];
  const set = [0, 2, 4].map((i) => `-X k8s.io/component-base/version.${version[i]}=${version[i + 1]}`);
  await go(folder, 'build', '-trimpath', `-ldflags=-s -w ${set.join(' ')}`, '-o', `${out}/`, ...packages);
}

async function buildModule(work: string, path: string, version: string, to: string): Promise<void> {
  const folder = mkdtempSync(join(work, 'module-'));
  await go(folder, 'mod', 'init', 'keyweave.example/program');
  await go(folder, 'get', `${path}@v${version}`);
  await go(folder, 'build', '-trimpath', '-ldflags=-s -w', '-o', to, path);
}

/** With the plugins alone that a cluster needs: all of them take as long as Kubernetes itself. */
async function buildCoreDns(work: string, to: string): Promise<void> {
  const folder = mkdtempSync(join(work, 'coredns-'));
  const module = 'github.com/coredns/coredns';
  const plugins = ['bind', 'cache', 'errors', 'kubernetes'].map((name) => `\t_ "${module}/plugin/${name}"\n`);
  const imports = `import (\n\t"${module}/coremain"\n${plugins.join('')})\n`;
  writeFileSync(join(folder, 'main.go'), `package main\n\n${imports}\nfunc main() { coremain.Run() }\n`);
  await go(folder, 'mod', 'init', 'keyweave.example/coredns');
  await go(folder, 'get', `${module}@v${COREDNS}`);
  await go(folder, 'mod', 'tidy');
  await go(folder, 'build', '-trimpath', '-ldflags=-s -w', '-o', to, '.');
}

/** What holds a pod's namespaces: waits for its end, and for that of processes that nobody else waits for. */
const PAUSE = `package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	heard := make(chan os.Signal, 16)
	signal.Notify(heard, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for one := range heard {
		if one != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
`;

async function buildPause(work: string, to: string): Promise<void> {
  const folder = mkdtempSync(join(work, 'pause-'));
  writeFileSync(join(folder, 'main.go'), PAUSE);
  await go(folder, 'build', '-trimpath', '-ldflags=-s -w', '-o', to, 'main.go');
}
