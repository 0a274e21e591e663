import { globSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { child, isNode, parseModule, type SyntaxNode } from '../mutants/syntax.ts';

/** One file that another one needs, as code or for its types only. */
export interface Import {
  /** Path from the root, as `services/common/log/log.ts`. */
  readonly target: string;
  /** In the importing file, from 1. */
  readonly line: number;
}

/** Every module of the tree that people write, as paths from the root, in order. */
export function modulesOf(root: string): string[] {
  const exclude = (path: string) => /(^|\/)(node_modules|native|out)(\/|$)/.test(path);
  return globSync('{certs,services,test}/**/*.ts', { cwd: root, exclude }).sort();
}

/**
 * The files of this project that a module names: imports and re-exports of
 * values and types, `import()` and the type `import()`; packages are left out.
 *
 * @param path of the module, from the root.
 * @throws SyntaxError where the module cannot be parsed.
 */
export function importsOf(root: string, path: string): Import[] {
  const source = readFileSync(join(root, path), 'utf8');
  const found: Import[] = [];
  const enter = (node: SyntaxNode): void => {
    const named = child(node, 'source')?.value;
    const target = typeof named === 'string' ? resolve(root, path, named) : undefined;
    if (target !== undefined) found.push({ target, line: lineAt(source, node.start) });
    for (const member of Object.values(node)) {
      if (isNode(member)) enter(member);
      else if (Array.isArray(member)) for (const item of member) if (isNode(item)) enter(item);
    }
  };
  enter(parseModule(source));
  return found;
}

function resolve(root: string, from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return posix.join(posix.dirname(from), specifier);
  if (!specifier.startsWith('#')) return undefined;
  for (const [pattern, target] of Object.entries(aliasesOf(root))) {
    const [before = '', after = ''] = pattern.split('*');
    if (!specifier.startsWith(before) || !specifier.endsWith(after)) continue;
    return posix.normalize(
      target.replace('*', specifier.slice(before.length, specifier.length - after.length)),
    );
  }
  throw new Error(`${from} imports ${specifier}, which package.json does not know`);
}

const aliases = new Map<string, Record<string, string>>();

/** The sub-path imports of package.json, as `#common/*.ts` to `./services/common/*.ts`. */
function aliasesOf(root: string): Record<string, string> {
  let known = aliases.get(root);
  if (!known) {
    known = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).imports as Record<string, string>;
    aliases.set(root, known);
  }
  return known;
}

function lineAt(source: string, offset: number): number {
  return source.slice(0, offset).split('\n').length;
}
