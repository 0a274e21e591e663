import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A part of the product whose tests are measured together. */
export interface Room {
  readonly name: string;
  /** Paths from the root, in order. */
  readonly sources: readonly string[];
  readonly tests: readonly string[];
}

interface RoomEntry {
  /** Patterns of its sources; a file that an earlier room has is not taken again. */
  files: string[];
  /** Patterns of the test files whose verdict counts: those that stand beside the code. */
  tests: string[];
  /** Files that are not measured, each with the reason. */
  leftOut?: Record<string, string>;
}

/** The rooms of a description. @throws Error for a pattern or path that names no file any more. */
export function loadRooms(root: string, description: string): Room[] {
  const entries = JSON.parse(readFileSync(description, 'utf8')) as Record<string, RoomEntry>;
  const taken = new Set<string>();
  return Object.entries(entries).map(([name, { files, tests, leftOut = {} }]) => {
    for (const path of Object.keys(leftOut)) {
      if (!existsSync(join(root, path)))
        throw new Error(`room ${name} leaves out ${path}, which is not there`);
    }
    const sources = expand(root, name, files).filter(
      (path) => !path.endsWith('.test.ts') && leftOut[path] === undefined && !taken.has(path),
    );
    for (const path of sources) taken.add(path);
    // A room without tests scores 0; one whose sources have moved away must not go unnoticed.
    return { name, sources, tests: globSync(tests, { cwd: root }).sort() };
  });
}

function expand(root: string, room: string, patterns: readonly string[]): string[] {
  const found = patterns.flatMap((pattern) => {
    const paths = globSync(pattern, { cwd: root });
    if (paths.length === 0) throw new Error(`room ${room}: nothing is named ${pattern} any more`);
    return paths;
  });
  return [...new Set(found)].sort();
}
