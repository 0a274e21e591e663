import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { systemCodeOf } from '#common/errors/system-error.ts';
import { RefusedCall } from '../driver/refused-call.ts';

/** Exit codes by kind of failure, the same for every command; the README has them in words. */
export const EXIT = {
  DONE: 0,
  /** Nothing of what follows. */
  FAILED: 1,
  /** The command line cannot be read. */
  USAGE: 2,
  /** A file is wrong: configuration, peers, certificate, request. */
  FILES: 3,
  /** The machine does not allow it: a port in use, a folder that cannot be written. */
  SYSTEM: 4,
  /** Nobody answers at the address, or the connection broke off. */
  UNREACHABLE: 5,
  /** The node answered with a status that is no success. */
  REFUSED: 6,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

const OF_REASON: Partial<Record<ErrorReason, ExitCode>> = {
  BAD_REQUEST: EXIT.USAGE,
  BAD_CONFIG: EXIT.FILES,
  SERVICE_UNAVAILABLE: EXIT.UNREACHABLE,
};

/** Causes that lie with the machine even where a file of ours names what is wanted. */
const OF_MACHINE = new Set([
  'EADDRINUSE',
  'EADDRNOTAVAIL',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOSPC',
  'EMFILE',
  'ERR_ACCESS_DENIED',
]);

/** What a command that failed so ends with. */
export function exitCodeOf(thrown: unknown): ExitCode {
  if (thrown instanceof RefusedCall) return EXIT.REFUSED;
  if (thrown instanceof KeyweaveError) {
    const code = OF_REASON[thrown.reason] ?? EXIT.FAILED;
    return code === EXIT.FILES && OF_MACHINE.has(systemCodeOf(thrown.cause) ?? '') ? EXIT.SYSTEM : code;
  }
  return systemCodeOf(thrown) === undefined ? EXIT.FAILED : EXIT.SYSTEM;
}
