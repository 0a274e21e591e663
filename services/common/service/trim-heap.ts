import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Gives back what loading the modules has left behind, some 10 MB of a
 * process, which the run time would keep until it needs it. Takes some 30 ms,
 * so it is for the end of the start. Where the run time does not allow it,
 * nothing happens.
 */
export function trimHeap(): void {
  try {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (options: object) => void;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    setFlagsFromString('--no-expose-gc');
  } catch {
    // A process that is started with other flags keeps its memory.
  }
}
