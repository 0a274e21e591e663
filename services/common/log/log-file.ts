import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

export interface LogFileOptions {
  /** Told when lines begin to be lost, and when they are written again, in words. */
  onTrouble: (message: string, fields: { path: string; code?: string; lost?: number }) => void;
}

/**
 * A file that lines are appended to. Each line is one write of its own, so
 * that several processes can share the file. A disk that is full or gone
 * costs lines, not the process.
 */
export class LogFile {
  readonly #path: string;
  readonly #onTrouble: LogFileOptions['onTrouble'];
  #fd: number;
  #lost = 0;

  /** @throws KeyweaveError BAD_CONFIG when the file cannot be opened. */
  constructor(path: string, { onTrouble }: LogFileOptions) {
    this.#path = path;
    this.#onTrouble = onTrouble;
    try {
      mkdirSync(dirname(path), { recursive: true });
      this.#fd = openSync(path, 'a');
    } catch (cause) {
      const code = codeOf(cause);
      throw new KeyweaveError('BAD_CONFIG', `logging_config.filename: ${path} cannot be written (${code})`, {
        cause,
      });
    }
  }

  write(line: string): void {
    try {
      writeSync(this.#fd, line);
    } catch (error) {
      this.#lost += 1;
      if (this.#lost === 1)
        this.#tell('log lines are lost: the file cannot be written', { code: codeOf(error) });
      return;
    }
    if (this.#lost === 0) return;
    const lost = this.#lost;
    this.#lost = 0;
    this.#tell('the log file can be written again', { lost });
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
      fd = openSync(this.#path, 'a');
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
