import { globSync } from 'node:fs';
import { GATEWAY_ROOMS } from './import-rules.ts';
import { importsOf } from './imports.ts';

/**
 * The ways that docs/exchange.md lists, one under each of these headings. An
 * entry of a list is one file, in one of three forms:
 *
 * ```
 * 1. `services/…/a.ts`: what happens there
 * 2. `services/…/b.ts` through `services/…/port.ts`: called by an interface of port.ts
 * 3. → pqc-source `services/pqc-source/service.ts`: a hop into another process, over gRPC
 * ```
 */
export const WAYS = [
  'A GET_KEY that hits',
  'A GET_KEY that misses at the responder',
  'An OPEN_CONNECT',
  'A QKD fetch',
  'A KEM batch',
  'A certificate reload',
] as const;

/** Files of the longest way. */
export const LONGEST = 27;

/** A file on a way. */
export interface Step {
  readonly path: string;
  /** The service whose process the way enters here; undefined where it stays in one. */
  readonly enters: string | undefined;
  /** The file whose interface the call goes through. */
  readonly port: string | undefined;
}

const ENTRY = /^(\d+)\. (?:→ ([a-z-]+) )?`([^`]+)`(?: through `([^`]+)`)?(?:: .+)?$/;

/** The lists under the headings that are ways. @throws Error for an entry that is in none of the forms. */
export function readWays(markdown: string): Map<string, Step[]> {
  const ways = new Map<string, Step[]>();
  let way: Step[] | undefined;
  for (const line of markdown.split('\n')) {
    const heading = /^#+ (.+)$/.exec(line)?.[1];
    if (heading !== undefined) {
      way = (WAYS as readonly string[]).includes(heading) ? [] : undefined;
      if (way && ways.has(heading)) throw new Error(`two lists are called "${heading}"`);
      if (way) ways.set(heading, way);
    } else if (way && /^\s*(\d+\.|[-*] )/.test(line)) {
      const [, number, enters, path = '', port] = ENTRY.exec(line) ?? [];
      if (Number(number) !== way.length + 1) throw new Error(`no entry ${way.length + 1} of a way: ${line}`);
      way.push({ path, enters, port });
    }
  }
  return ways;
}

/** The files that a module imports, and whether there is such a module. */
export interface Imports {
  has(path: string): boolean;
  of(path: string): ReadonlySet<string>;
}

export function importsIn(root: string): Imports {
  const known = new Map<string, ReadonlySet<string>>();
  return {
    has: (path) => globSync(path, { cwd: root }).length === 1,
    of: (path) => {
      let targets = known.get(path);
      if (!targets) {
        targets = new Set(importsOf(root, path).map(({ target }) => target));
        known.set(path, targets);
      }
      return targets;
    },
  };
}

/** What is wrong with a way, a line a fault. */
export function faultsOf(way: readonly Step[], imports: Imports): string[] {
  const missing = way.filter(({ path }) => !imports.has(path));
  if (missing.length > 0) return missing.map(({ path }) => `${path}: there is no such file`);
  const faults: string[] = [];
  if (way.length === 0) faults.push('the list is empty');
  if (way.length > LONGEST) faults.push(`the list has ${way.length} files, ${LONGEST} are the most`);
  let start = 0;
  for (const [i, step] of way.entries()) {
    const before = way.slice(0, i).map(({ path }) => path);
    if (before.includes(step.path)) faults.push(`${step.path}: stands in the list twice`);
    if (step.enters !== undefined) start = i;
    const [own, here] = [serviceOf(step.path), serviceOf(way[start]?.path ?? '')];
    if (own !== here && own !== undefined) faults.push(`${step.path}: is not of ${here}, and there is no →`);
    const link = i === 0 || isLinked(step, before, imports);
    if (link !== true) faults.push(`${step.path}: ${link}`);
    for (const above of before.slice(start)) {
      if (imports.of(step.path).has(above))
        faults.push(`${step.path}: imports ${above}, which stands before it`);
      if (rankOf(step.path) < rankOf(above)) faults.push(`${step.path}: is in a room above that of ${above}`);
    }
  }
  return faults;
}

/** Whether one of the files before it reaches a file; why not, otherwise. */
function isLinked({ path, enters, port }: Step, before: readonly string[], imports: Imports): true | string {
  if (enters !== undefined) {
    if (!path.startsWith(`services/${enters}/`)) return `is no file of ${enters}`;
    const contracts = [...imports.of(path)].filter((target) => target.startsWith('proto/gen/'));
    const shared = contracts.some((contract) => before.some((file) => imports.of(file).has(contract)));
    return shared || 'no file before it speaks a contract that it speaks';
  }
  if (port !== undefined) {
    if (!imports.has(port)) return `${port}, which it is called through, is no file`;
    if (!imports.of(path).has(port)) return `does not import ${port}, which it is called through`;
    return (
      before.some((file) => file === port || imports.of(file).has(port)) ||
      `no file before it imports ${port}, which it is called through`
    );
  }
  return before.some((file) => imports.of(file).has(path)) || 'no file before it imports it';
}

/** The service whose process runs a file; undefined for what all of them share. */
function serviceOf(path: string): string | undefined {
  const [, name] = /^services\/([^/]+)\//.exec(path) ?? [];
  return name === 'common' ? undefined : name;
}

/** 0 for what has no rooms, then the rooms of the gateway; what is shared lies below all of them. */
function rankOf(path: string): number {
  const [, room = ''] = /^services\/gateway\/([^/]+)/.exec(path) ?? [];
  if (room !== '') return 1 + (GATEWAY_ROOMS as readonly string[]).indexOf(room);
  return /^(certs|services\/common)\//.test(path) ? 1 + GATEWAY_ROOMS.length : 0;
}
