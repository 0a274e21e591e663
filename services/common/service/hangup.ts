import { closeSync, constants, openSync } from 'node:fs';

const TERMINAL = '/dev/tty';

/**
 * Heeds SIGHUP, which would end the process: `reopen` opens the log file anew.
 * Where the signal means that the terminal of the process is gone, `stop`:
 * nobody sees what was started from it any more.
 *
 * @param hasTerminal whether the process has a terminal now.
 */
export function heedHangup(
  act: { reopen: () => void; stop?: () => void },
  hasTerminal: () => boolean = terminalOpens,
): void {
  const startedFromTerminal = hasTerminal();
  process.on('SIGHUP', () => {
    if (act.stop && startedFromTerminal && !hasTerminal()) act.stop();
    else act.reopen();
  });
}

function terminalOpens(): boolean {
  try {
    closeSync(openSync(TERMINAL, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}
