import { existsSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, run } from '../../containers/command.ts';
import { forgetRules } from '../../containers/engine-rules.ts';

/** Debian's packages that a cluster needs beside Go, each with a file that tells whether it is there. */
export const NEEDED = {
  containerd: '/usr/bin/containerd',
  'containernetworking-plugins': '/usr/lib/cni/bridge',
  iptables: '/usr/sbin/iptables',
  conntrack: '/usr/sbin/conntrack',
  iproute2: '/usr/sbin/ip',
} as const;

/** Settings of the kernel that the parts of a cluster change on this machine. */
const SETTINGS = [
  'net/ipv4/ip_forward',
  'net/ipv4/conf/all/route_localnet',
  'net/bridge/bridge-nf-call-iptables',
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'kernel/panic',
  'kernel/panic_on_oops',
  'kernel/keys/root_maxkeys',
  'kernel/keys/root_maxbytes',
] as const;

const NODE_BRIDGE = 'keyweave-node';
export const POD_BRIDGE = 'keyweave-pods';
export const POD_NETWORK = '10.244.0.0/16';
/** Where everything of the control plane listens: an address that only this machine has. */
export const NODE_ADDRESS = '10.99.0.1';

/** The settings as they are, for `restoreSettings`. */
export function readSettings(): Record<string, string> {
  const paths = SETTINGS.filter((name) => existsSync(`/proc/sys/${name}`));
  return Object.fromEntries(paths.map((name) => [name, readFileSync(`/proc/sys/${name}`, 'utf8').trim()]));
}

export function restoreSettings(settings: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(settings)) {
    try {
      if (readFileSync(`/proc/sys/${name}`, 'utf8').trim() !== value)
        writeFileSync(`/proc/sys/${name}`, value);
    } catch {
      // A module that has gone takes its settings along.
    }
  }
}

/** The node's own network, and leave for pods to talk through this machine. */
export async function openNetwork(): Promise<void> {
  if (!existsSync(`/sys/class/net/${NODE_BRIDGE}`))
    await run('ip', ['link', 'add', NODE_BRIDGE, 'type', 'bridge']);
  await run('ip', ['addr', 'replace', `${NODE_ADDRESS}/32`, 'dev', NODE_BRIDGE]);
  await run('ip', ['link', 'set', NODE_BRIDGE, 'up']);
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  // A container engine of this machine drops what it does not know.
  for (const side of ['-i', '-o'])
    await run('iptables', ['-w', '-I', 'FORWARD', side, POD_BRIDGE, '-j', 'ACCEPT']);
  const bridged = '/proc/sys/net/bridge/bridge-nf-call-iptables';
  if (existsSync(bridged)) writeFileSync(bridged, '1');
}

/** Takes bridges, pods' networks, packet rules and control groups away again. */
export async function closeNetwork(): Promise<void> {
  const { stdout } = await attempt('ip', ['netns', 'list']);
  for (const [, name = ''] of stdout.matchAll(/^(cni-\S+)/gm)) await attempt('ip', ['netns', 'del', name]);
  for (const bridge of [POD_BRIDGE, NODE_BRIDGE])
    if (existsSync(`/sys/class/net/${bridge}`)) await attempt('ip', ['link', 'del', bridge]);
  for (const program of ['iptables', 'ip6tables'])
    await forgetRules({
      program,
      tables: ['filter', 'nat', 'mangle'],
      isOurs: (rule) => /KUBE-|CNI-/.test(rule) || rule.includes(POD_BRIDGE),
      isOurChain: (name) => /^(KUBE|CNI)-/.test(name),
    });
}

/** The control groups of pods, innermost first; nothing runs in them any more. */
export function removeControlGroups(root = '/sys/fs/cgroup'): void {
  const tops = [root, ...foldersIn(root)]
    .map((folder) => join(folder, 'kubepods'))
    .filter((path) => existsSync(path));
  for (const top of new Set(tops)) removeEmpty(top);
}

function removeEmpty(folder: string): void {
  for (const inner of foldersIn(folder)) removeEmpty(inner);
  try {
    rmdirSync(folder);
  } catch {
    // Something lives in it: then it is not ours to end.
  }
}

function foldersIn(folder: string): string[] {
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isDirectory());
}
