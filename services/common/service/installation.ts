import { fileURLToPath } from 'node:url';

/** Whether this code runs compiled, from the package; else it runs unbuilt, from a checkout. */
export const COMPILED = import.meta.url.endsWith('.js');

/** Root folder of the package or the checkout, with a slash at its end. Compiled code lies one folder deeper, in `dist`. */
export const HOME = fileURLToPath(new URL(COMPILED ? '../../../../' : '../../../', import.meta.url));

/**
 * URL of a module that is started, in a process or a thread of its own, rather
 * than imported: the compiler rewrites the `.ts` of imports only.
 *
 * @param name as an import writes it, e.g. `./service-entry.ts`
 * @param importer the `import.meta.url` of the file that starts it
 */
export function startable(name: `${'./' | '../'}${string}.ts`, importer: string): URL {
  return new URL(COMPILED ? name.replace(/\.ts$/, '.js') : name, importer);
}
