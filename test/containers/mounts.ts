import { readFileSync } from 'node:fs';
import { attempt } from './command.ts';

/** Unmounts what is mounted below folders, innermost first: what programs that were killed have left there. */
export async function removeMountsBelow(...folders: readonly string[]): Promise<void> {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => folders.some((folder) => path.startsWith(`${folder}/`)));
  for (const path of mounts.reverse()) await attempt('umount', ['--lazy', path]);
}
