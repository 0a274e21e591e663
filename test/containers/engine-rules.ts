import { attempt } from './command.ts';

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
  await forgetRules({
    program: 'iptables',
    tables: ['filter', 'nat'],
    isOurs: (rule) => /\bDOCKER\b|DOCKER-|\bdocker0\b|-s 172\.17\.0\.0\/16/.test(rule),
    isOurChain: (name) => name.startsWith('DOCKER'),
  });
  await attempt('iptables', ['-P', 'FORWARD', policy]);
}

/** Which packet filter rules and chains somebody has left. */
export interface LeftRules {
  readonly program: string;
  readonly tables: readonly string[];
  isOurs(rule: string): boolean;
  isOurChain(name: string): boolean;
}

/** Takes rules and chains off this machine; those of others stay. */
export async function forgetRules({ program, tables, isOurs, isOurChain }: LeftRules): Promise<void> {
  for (const table of tables) {
    const { code, stdout } = await attempt(program, ['-w', '-t', table, '-S']);
    if (code !== 0) continue;
    const lines = stdout.split('\n');
    const rules = lines.filter((line) => line.startsWith('-A ') && isOurs(line));
    const chains = lines
      .filter((line) => line.startsWith('-N '))
      .map((line) => line.slice('-N '.length))
      .filter(isOurChain);
    // Those in chains of ours go with them.
    const inOthers = rules.filter((rule) => !chains.includes(rule.split(' ')[1] ?? ''));
    for (const rule of inOthers) await attempt(program, ['-w', '-t', table, '-D', ...wordsOf(rule).slice(1)]);
    for (const chain of chains) await attempt(program, ['-w', '-t', table, '-F', chain]);
    for (const chain of chains) await attempt(program, ['-w', '-t', table, '-X', chain]);
  }
}

/** The words of a rule as the program prints it, with texts in quotes as one. */
function wordsOf(rule: string): string[] {
  return [...rule.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll(/\\(.)/g, '$1') ?? plain ?? '',
  );
}
