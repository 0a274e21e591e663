import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void;

let collect: Collect | undefined;

/**
 * Gives back what the process no longer needs and the run time would keep: the
 * garbage of loading the modules, or of a load that is over. Takes some 30 ms,
 * so it is for the end of the start and for idle moments. Where the run time
 * does not allow it, nothing happens.
 */
export function trimHeap(): void {
  try {
    collect ??= findCollector();
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  } catch {
    // A process that is started with other flags keeps its memory.
  }
}

/** The collector, without its name in the program's own scope, where anything that is loaded could call it. */
function findCollector(): Collect {
  setFlagsFromString('--expose-gc');
  const found = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  return found;
}
