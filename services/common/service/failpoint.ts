import { readFileSync } from 'node:fs';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/**
 * Named places where a test makes this process fail. Off, and without cost,
 * unless KEYWEAVE_FAILPOINTS names a file at start. The file holds lines
 * `<name> <action>` and is read at every hit, so that a test can change it:
 * `error` fails the step, `delay:<ms>` holds it up, `exit` kills the process
 * as `kill -9` would.
 */
const FILE = process.env.KEYWEAVE_FAILPOINTS;

/** Hits the failpoint `name`. @throws KeyweaveError INTERNAL where the action is `error`. */
export function failpoint(name: string): Promise<void> | undefined {
  return FILE === undefined ? undefined : hit(FILE, name);
}

async function hit(file: string, name: string): Promise<void> {
  const action = actionOf(file, name);
  if (action === undefined) return;
  if (action === 'exit') process.kill(process.pid, 'SIGKILL');
  const delay = /^delay:(\d+)$/.exec(action);
  if (delay) await new Promise((resolve) => setTimeout(resolve, Number(delay[1])));
  else throw new KeyweaveError('INTERNAL', `failpoint ${name}`);
}

function actionOf(file: string, name: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  for (const line of text.split('\n')) {
    const [at, action] = line.trim().split(/\s+/);
    if (at === name) return action;
  }
  return undefined;
}
