import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { runTestFile } from './run-test-file.ts';

/** What one test file reaches. */
export interface TestFileCoverage {
  /** Path from the root. */
  readonly test: string;
  /** How long it takes by itself. */
  readonly ms: number;
  /** Digests of the test file and of each source that it loads, by path. */
  readonly digests: Readonly<Record<string, string>>;
  /** By path of the source: counted ranges, as V8 nests them. */
  readonly ranges: Readonly<Record<string, readonly Range[]>>;
}

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

interface V8Coverage {
  readonly result: readonly { url: string; functions: readonly { ranges: readonly Range[] }[] }[];
}

/** Whether the test file runs the code at `offset`: the innermost range around it says. */
export function reaches({ ranges }: TestFileCoverage, file: string, offset: number): boolean {
  let innermost: Range | undefined;
  for (const range of ranges[file] ?? []) {
    const isAround = range.startOffset <= offset && offset < range.endOffset;
    if (isAround && (innermost === undefined || lengthOf(range) <= lengthOf(innermost))) innermost = range;
  }
  return (innermost?.count ?? 0) > 0;
}

const lengthOf = (range: Range) => range.endOffset - range.startOffset;

/**
 * Runs a test file by itself and notes what it reaches. An earlier note is
 * taken where neither the test nor anything that it loads has changed.
 *
 * @throws Error when the test fails as the code stands.
 */
export async function coverageOf(root: string, cache: string, test: string): Promise<TestFileCoverage> {
  const name = test.replaceAll('/', '_');
  const noted = join(cache, `${name}.json`);
  if (existsSync(noted)) {
    const earlier = JSON.parse(readFileSync(noted, 'utf8')) as TestFileCoverage;
    const isFresh = Object.entries(earlier.digests).every(
      ([path, digest]) => digestOf(root, path) === digest,
    );
    if (isFresh) return earlier;
  }
  const raw = join(cache, name);
  rmSync(raw, { recursive: true, force: true });
  mkdirSync(raw, { recursive: true });
  const started = performance.now();
  const { outcome, output } = await runTestFile(root, test, {
    limitMs: 180_000,
    environment: { NODE_V8_COVERAGE: raw },
  });
  const ms = performance.now() - started;
  if (outcome !== 'passed') throw new Error(`${test} does not pass as the code stands:\n${output}`);
  const ranges: Record<string, Range[]> = {};
  for (const file of readdirSync(raw)) {
    for (const { url, functions } of (JSON.parse(readFileSync(join(raw, file), 'utf8')) as V8Coverage)
      .result) {
      const path = sourcePath(root, url);
      if (path === undefined) continue;
      ranges[path] ??= [];
      ranges[path].push(...functions.flatMap((each) => each.ranges));
    }
  }
  rmSync(raw, { recursive: true });
  const digests = Object.fromEntries(
    [test, ...Object.keys(ranges)].map((path) => [path, digestOf(root, path)]),
  );
  const coverage = { test, ms, digests, ranges };
  writeFileSync(noted, JSON.stringify(coverage));
  return coverage;
}

/** The path of a source of the project; undefined for packages and generated code. */
function sourcePath(root: string, url: string): string | undefined {
  if (!url.startsWith(`${pathToFileURL(root).href}/`)) return undefined;
  const path = relative(root, fileURLToPath(url));
  return /^(node_modules|proto\/gen)\//.test(path) || !path.endsWith('.ts') ? undefined : path;
}

function digestOf(root: string, path: string): string {
  const file = join(root, path);
  return existsSync(file) ? createHash('sha256').update(readFileSync(file)).digest('hex') : '';
}
