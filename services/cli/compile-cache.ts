import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COMPILED, HOME, startable } from '#common/service/installation.ts';
import { SERVICE_FLAGS } from './service-runtime.ts';

const FOLDER = join(HOME, 'node_modules', '.cache', 'keyweave');
const WARM_UP = fileURLToPath(startable('./warm-up.ts', import.meta.url));
const WARM_UP_LIMIT_MS = 20_000;

/** What a process of ours is started with, so that it loads stripped and compiled modules from the cache. */
export const CACHE_ENVIRONMENT: Readonly<Record<string, string>> = COMPILED
  ? {}
  : { NODE_COMPILE_CACHE: FOLDER };

/**
 * Fills the compile cache once for each state of the sources. Without it every
 * process keeps its own copy of the type stripper, some 40 MB, and starts
 * slower. Where the cache cannot be written everything works all the same.
 * The package has nothing to strip, and gains too little by it to write
 * beside itself. `signal` gives it up.
 */
export async function warmCompileCache(signal?: AbortSignal): Promise<void> {
  if (COMPILED) return;
  const marker = join(FOLDER, `warm-${process.version}-${newestSourceMs()}`);
  if (existsSync(marker)) return;
  try {
    mkdirSync(FOLDER, { recursive: true });
  } catch {
    return;
  }
  const child = spawn(process.execPath, [...SERVICE_FLAGS, WARM_UP], {
    env: { ...process.env, ...CACHE_ENVIRONMENT },
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: WARM_UP_LIMIT_MS,
    ...(signal && { signal, killSignal: 'SIGKILL' as const }),
  });
  const code = await new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', resolve);
  });
  if (code !== 0) return;
  try {
    writeFileSync(marker, '');
  } catch {
    // The next start fills it again.
  }
}

function newestSourceMs(): number {
  let newest = 0;
  for (const folder of ['services', 'proto/gen']) {
    for (const entry of readdirSync(join(HOME, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.name.endsWith('.ts') || entry.name.endsWith('.test.ts')) continue;
      newest = Math.max(newest, statSync(join(entry.parentPath, entry.name)).mtimeMs);
    }
  }
  return Math.floor(newest);
}
