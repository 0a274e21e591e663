import { statSync } from 'node:fs';

/** Looking at a handful of files costs microseconds, and works on every file system. */
const POLL_MS = 2_000;

export interface FileWatch {
  /** It will not call any more; safe to repeat. */
  close(): void;
}

/**
 * Calls `changed` whenever one of the files is another than when it was last
 * looked at, also where it has come or gone. Start it before the first
 * reading, so that nothing that changes in between is missed. Keeps no process
 * alive.
 *
 * @param changed gives whether what it found was usable; where not, it is
 *   called once more, with `again` true, if the files stay as they are: they
 *   are replaced one after the other, and half a change is no error until it stays.
 * @param pollMs how often the files are looked at.
 */
export function watchFiles(
  paths: readonly string[],
  changed: (again: boolean) => boolean,
  pollMs = POLL_MS,
): FileWatch {
  let seen = stampOf(paths);
  let again = false;
  const timer = setInterval(() => {
    const stamp = stampOf(paths);
    const stayed = stamp === seen;
    if (stayed && !again) return;
    seen = stamp;
    again = !changed(stayed) && !stayed;
  }, pollMs);
  timer.unref();
  return { close: () => clearInterval(timer) };
}

/** Changes whenever one of the files does. */
function stampOf(paths: readonly string[]): string {
  return paths
    .map((path) => {
      const stat = statSync(path, { throwIfNoEntry: false });
      return `${stat?.mtimeMs}:${stat?.ino}:${stat?.size}`;
    })
    .join(' ');
}
