import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { HOME } from '#common/service/installation.ts';

/** Where Debian's package is unpacked, which needs no root. */
const CACHE = `${HOME}.cache/prometheus`;
const UNPACKED = `${CACHE}/usr/bin/promtool`;
const DOWNLOAD_LIMIT_MS = 120_000;

/** A promtool that runs, or why there is none. */
export type Promtool = { readonly path: string } | { readonly missing: string };

/** The promtool of KEYWEAVE_PROMTOOL, of PATH, or out of Debian's package, which is fetched where apt-get can. */
export function findPromtool(): Promtool {
  const named = process.env.KEYWEAVE_PROMTOOL;
  for (const path of [...(named ? [named] : []), 'promtool', UNPACKED]) if (runs(path)) return { path };
  try {
    mkdirSync(CACHE, { recursive: true });
    const limits = { cwd: CACHE, timeout: DOWNLOAD_LIMIT_MS, stdio: 'pipe' } as const;
    execFileSync('apt-get', ['download', 'prometheus'], limits);
    const archive = readdirSync(CACHE).find((name) => name.endsWith('.deb')) ?? '';
    execFileSync('dpkg-deb', ['-x', archive, '.'], limits);
  } catch (error) {
    return {
      missing: `no promtool on PATH, and none to be had from Debian: ${String(error).split('\n')[0]}`,
    };
  }
  return existsSync(UNPACKED) && runs(UNPACKED)
    ? { path: UNPACKED }
    : { missing: `no promtool on PATH, and Debian's does not run here` };
}

/** What a promtool says of files, and whether it is content. */
export function promtool(path: string, ...given: string[]): { passed: boolean; said: string } {
  const { status, stdout, stderr } = spawnSync(path, given, { cwd: HOME, encoding: 'utf8' });
  return { passed: status === 0, said: `${stdout}${stderr}` };
}

function runs(path: string): boolean {
  return spawnSync(path, ['--version'], { stdio: 'ignore' }).status === 0;
}
