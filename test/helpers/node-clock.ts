import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How far back nodes start, so that their certificates are good when the clock is set back later. */
const BEFORE_MS = 4 * 3_600_000;

export interface NodeClock {
  /** Sets the wall clocks `ms` ahead of the true one, or behind it. */
  set(ms: number): void;
  /** What is started from now on has the true time again. */
  stop(): void;
}

/**
 * One wall clock for all nodes that this test file starts from now on: they
 * start some hours in the past, and from then on it stands where it is set.
 */
export function startNodeClock(): NodeClock {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-clock-'));
  const file = join(folder, 'shift');
  const set = (ms: number) => {
    writeFileSync(`${file}.new`, String(ms));
    renameSync(`${file}.new`, file);
  };
  set(-BEFORE_MS);
  const { NODE_OPTIONS: options = '' } = process.env;
  process.env.KEYWEAVE_TEST_CLOCK = file;
  process.env.NODE_OPTIONS = `${options} --import=${new URL('./shifted-clock.ts', import.meta.url)}`;
  return {
    set,
    stop: () => {
      process.env.NODE_OPTIONS = options;
      delete process.env.KEYWEAVE_TEST_CLOCK;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
