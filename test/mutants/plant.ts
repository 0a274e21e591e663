/**
 * Loaded before the tests of one mutant (NODE_OPTIONS, so that workers and
 * child processes have it too): replaces the one piece of source that the
 * environment names, when that module is loaded.
 */
import { registerHooks } from 'node:module';

/** Name of the environment variable that holds the fault as JSON. */
export const FAULT_VARIABLE = 'KEYWEAVE_PLANTED_FAULT';

export interface Fault {
  /** Address of the module. */
  readonly url: string;
  readonly start: number;
  readonly end: number;
  readonly after: string;
}

const planted = process.env[FAULT_VARIABLE];
if (planted !== undefined) {
  const { url: place, start, end, after } = JSON.parse(planted) as Fault;
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (url !== place || loaded.source === undefined || loaded.source === null) return loaded;
      const source =
        typeof loaded.source === 'string'
          ? loaded.source
          : Buffer.from(loaded.source as Uint8Array).toString();
      return { ...loaded, source: source.slice(0, start) + after + source.slice(end) };
    },
  });
}
