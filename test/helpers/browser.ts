import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

/** Names of Chromium's command on the systems that have it. */
const COMMANDS = ['chromium', 'chromium-browser', 'google-chrome'];

/**
 * Starts a headless Chromium of this machine.
 *
 * @throws Error saying how to get one, where there is none.
 */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: findChromium(),
    // Containers run as root, and have little shared memory; the pages are this project's own.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  });
}

function findChromium(): string {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = COMMANDS.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
  if (found === undefined)
    throw new Error('missing: chromium, in which the console is tested; on Debian: apt-get install chromium');
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
