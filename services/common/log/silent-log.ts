import type { Log } from '#common/log/log.ts';

/** A log that says nothing, for commands that print results only and for tests. */
export const silentLog: Log = Object.freeze({
  debug: () => undefined,
  info: () => undefined,
  warning: () => undefined,
  error: () => undefined,
});
