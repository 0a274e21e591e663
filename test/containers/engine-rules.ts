import { attempt } from './command.ts';

const TABLES = ['filter', 'nat'] as const;

/** What happens to packets that this machine forwards and no rule is about: ACCEPT or DROP. */
export async function forwardPolicy(): Promise<string> {
  const { stdout } = await attempt('iptables', ['-S', 'FORWARD']);
  return /^-P FORWARD (\w+)/.exec(stdout)?.[1] ?? 'ACCEPT';
}

/**
 * Takes the packet filter rules and chains of an engine that has stopped off
 * this machine again.
 *
 * @param policy that of before the engine, which sets its own.
 */
export async function forgetEngineRules(policy: string): Promise<void> {
  for (const table of TABLES) {
    const { code, stdout } = await attempt('iptables', ['-t', table, '-S']);
    if (code !== 0) continue;
    const lines = stdout.split('\n');
    const isOurs = (line: string) => /\bDOCKER\b|DOCKER-|\bdocker0\b|-s 172\.17\.0\.0\/16/.test(line);
    const rules = lines.filter((line) => line.startsWith('-A ') && isOurs(line));
    for (const rule of rules) await attempt('iptables', ['-t', table, '-D', ...rule.split(' ').slice(1)]);
    const chains = lines
      .filter((line) => line.startsWith('-N DOCKER'))
      .map((line) => line.slice('-N '.length));
    for (const chain of chains) await attempt('iptables', ['-t', table, '-F', chain]);
    for (const chain of chains) await attempt('iptables', ['-t', table, '-X', chain]);
  }
  await attempt('iptables', ['-P', 'FORWARD', policy]);
}
