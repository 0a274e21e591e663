import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { COMPILED, HOME } from '#common/service/installation.ts';

/** Longest wait for git. */
const LIMIT_MS = 5_000;

/** Digits of a commit that people compare by eye. */
const SHORT = 12;

/** Where an image says which commit it was built from. */
const VARIABLE = 'KEYWEAVE_COMMIT';

/**
 * The commit that this code is of: what the package's build wrote down, what
 * the image's says, or what git says of a checkout, with `-dirty` behind it
 * where files differ from the commit. Undefined where nobody knows.
 */
export function commitOf(): string | undefined {
  if (COMPILED) return recorded();
  return process.env[VARIABLE] ?? checkedOut();
}

/** @param commit as `commitOf` gives it; the mark of a changed checkout stays */
export function shortCommit(commit: string): string {
  return commit.replace(/^[0-9a-f]+/, (digits) => digits.slice(0, SHORT));
}

function recorded(): string | undefined {
  return (JSON.parse(readFileSync(`${HOME}dist/package.json`, 'utf8')) as { commit?: string }).commit;
}

function checkedOut(): string | undefined {
  try {
    // A copy without a repository of its own may lie within another one.
    if (realpathSync(git('rev-parse', '--show-toplevel')) !== realpathSync(HOME)) return undefined;
    return git('describe', '--always', '--dirty', '--abbrev=40', '--exclude=*');
  } catch {
    return undefined;
  }
}

function git(...args: string[]): string {
  const options = { cwd: HOME, encoding: 'utf8', timeout: LIMIT_MS } as const;
  return execFileSync('git', args, { ...options, stdio: ['ignore', 'pipe', 'ignore'] }).trim();
}
