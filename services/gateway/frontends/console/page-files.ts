import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Resource } from '../http/resources.ts';

/** The page's files, by the paths that they are at. */
const FILES: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/console.css': ['console.css', 'text/css; charset=utf-8'],
  '/icon.svg': ['icon.svg', 'image/svg+xml'],
  ...Object.fromEntries(
    ['console', 'charts', 'elements', 'network', 'tables', 'words'].map((name) => [
      `/${name}.js`,
      [`${name}.js`, 'text/javascript; charset=utf-8'] as const,
    ]),
  ),
};

/** What a browser loads, read once. */
export function pageResources(): Resource<unknown>[] {
  return Object.entries(FILES).map(([path, [file, type]]) => {
    const content = readFileSync(fileURLToPath(new URL(`./page/${file}`, import.meta.url)));
    // Each answer is wiped once it is sent.
    return { path, type, handlers: { GET: () => Buffer.from(content) } };
  });
}
