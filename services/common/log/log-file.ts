import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

export interface LogFileOptions {
  /** Told when lines begin to be lost, and when they are written again, in words. */
  onTrouble: (message: string, fields: { path: string; code?: string; lost?: number }) => void;
  /** Key of the configuration that names the file, for the message of a start that fails. */
  key?: string;
  /** Of a file that is made; what the umask leaves of it. */
  mode?: number;
}

/**
 * A file that lines are appended to. Each line is one write of its own, so
 * that several processes can share the file. A disk that is full or gone
 * costs lines, not the process.
 */
export class LogFile {
  readonly #path: string;
  readonly #onTrouble: LogFileOptions['onTrouble'];
  readonly #mode: number | undefined;
  #fd: number;
  #lost = 0;

  /** @throws KeyweaveError BAD_CONFIG when the file cannot be opened. */
  constructor(path: string, { onTrouble, key = 'logging_config.filename', mode }: LogFileOptions) {
    this.#path = path;
    this.#onTrouble = onTrouble;
    this.#mode = mode;
    try {
      mkdirSync(dirname(path), { recursive: true });
      this.#fd = openSync(path, 'a', mode);
    } catch (cause) {
      const code = codeOf(cause);
      throw new KeyweaveError('BAD_CONFIG', `${key}: ${path} cannot be written (${code})`, { cause });
    }
  }

  /** @returns whether the system has taken the line. */
  write(line: string): boolean {
    try {
      writeSync(this.#fd, line);
    } catch (error) {
      this.#lost += 1;
      if (this.#lost === 1)
        this.#tell('log lines are lost: the file cannot be written', { code: codeOf(error) });
      return false;
    }
    if (this.#lost === 0) return true;
    const lost = this.#lost;
    this.#lost = 0;
    this.#tell('the log file can be written again', { lost });
    return true;
  }

  /** Closes the file; nothing is written any more. */
  close(): void {
    closeSync(this.#fd);
  }

  /**
   * Opens the path anew, after whoever rotates logs has moved the file away.
   * Where that fails the old file stays.
   *
   * @returns whether it was opened.
   */
  reopen(): boolean {
    let fd: number;
    try {
      fd = openSync(this.#path, 'a', this.#mode);
    } catch (error) {
      this.#tell('the log file could not be opened anew, the old one stays', { code: codeOf(error) });
      return false;
    }
    closeSync(this.#fd);
    this.#fd = fd;
    return true;
  }

  #tell(message: string, fields: { code?: string; lost?: number }): void {
    this.#onTrouble(message, { path: this.#path, ...fields });
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
