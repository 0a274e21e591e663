import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** What the system's codes mean to whoever starts a program of ours, and what to do. */
const WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is in use; end what listens there, or choose another',
  EADDRNOTAVAIL: 'this machine does not have that address',
  EACCES: 'this user may not do that',
  EPERM: 'this user may not do that',
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of the path is no folder',
  EISDIR: 'is a folder, not a file',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the disk',
  EMFILE: 'too many files are open; see ulimit -n',
  ENOTFOUND: 'the name cannot be resolved',
  EAI_AGAIN: 'the name cannot be resolved at present',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the other end broke the connection off',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH: 'there is no way to that network',
  ETIMEDOUT: 'nothing answers there',
  ERR_ACCESS_DENIED: "the run time's permissions (--permission) do not allow it",
};

/** gRPC tells the reason of a failed bind in its message only, and that of a name in words of its own. */
const UNRESOLVED = /^(Name resolution failed|No addresses resolved)/;
const IN_MESSAGE = new RegExp(`\\b(${Object.keys(WORDS).join('|')})\\b`);

/** Causes of causes that are looked at. */
const MAX_DEPTH = 8;

/** The system's code, such as EADDRINUSE, of an error or of what caused it. */
export function systemCodeOf(thrown: unknown): string | undefined {
  for (let error = thrown, depth = 0; error instanceof Error && depth < MAX_DEPTH; depth++) {
    const { code } = error as NodeJS.ErrnoException;
    if (typeof code === 'string' && Object.hasOwn(WORDS, code)) return code;
    const named = IN_MESSAGE.exec(error.message)?.[1];
    if (named !== undefined) return named;
    if (UNRESOLVED.test(error.message)) return 'ENOTFOUND';
    error = error.cause;
  }
  return undefined;
}

/** The code in words, with itself in brackets. */
export function systemCodeInWords(code: string): string {
  const words = Object.hasOwn(WORDS, code) ? WORDS[code] : undefined;
  return words === undefined ? code : `${words} (${code})`;
}

/**
 * Why something failed, for whoever started it: the detail of an error of ours,
 * or the message of the system, each with the system's code in words. Only what
 * nobody foresaw comes with its stack.
 */
export function failureText(thrown: unknown): string {
  const code = systemCodeOf(thrown);
  if (thrown instanceof KeyweaveError) {
    const told = code === undefined || thrown.detail.includes(code);
    return told ? thrown.detail : `${thrown.detail}: ${systemCodeInWords(code)}`;
  }
  if (!(thrown instanceof Error)) return String(thrown);
  if (code === undefined) return thrown.stack ?? thrown.message;
  const { path, syscall } = thrown as NodeJS.ErrnoException;
  return `${path ?? syscall ?? thrown.message}: ${systemCodeInWords(code)}`;
}
