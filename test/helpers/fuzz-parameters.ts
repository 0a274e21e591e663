import { readFileSync } from 'node:fs';
import type fc from 'fast-check';
import { FuzzWatch } from './fuzz-watch.ts';

/** No input of a decoder takes longer, not even on a busy machine. */
const MAX_CASE_MS = 20_000;

/** How often it is looked what the process holds while a property is tried. */
const LOOKS = 8;

/** More than there is time for. */
const WITHOUT_END = 1_000_000_000;

let watch: FuzzWatch | undefined;

interface FuzzParameters {
  readonly numRuns: number;
  readonly seed?: number;
  readonly path?: string;
  readonly interruptAfterTimeLimit?: number;
  readonly timeout?: number;
  readonly plugins?: ReturnType<typeof fc.beforeEach>[];
}

/**
 * How often a property is tried, and where fast-check starts. A failure prints
 * seed and path: FUZZ_SEED and FUZZ_PATH have it again (in a run of that
 * property alone, since they hold for every one that is run). FUZZ_RUNS is how
 * often instead, and with FUZZ_SECONDS the properties of a file share so many
 * seconds, while it is watched that no input hangs and that memory does not grow.
 *
 * @param numRuns how often without any of them.
 * @param times how many times the property at this place of the file is run.
 */
export function fuzzParameters(numRuns: number, times = 1): FuzzParameters {
  const again = startingPoint();
  const seconds = fromEnvironment('FUZZ_SECONDS');
  if (seconds === undefined || again.path !== undefined)
    return { numRuns: fromEnvironment('FUZZ_RUNS') ?? numRuns, ...again };
  const shareMs = (seconds * 1_000) / (propertiesOf(process.argv[1]) * times);
  watch ??= new FuzzWatch({ lookEveryMs: shareMs / LOOKS, maxCaseMs: MAX_CASE_MS });
  watch.next();
  return {
    ...again,
    numRuns: WITHOUT_END,
    interruptAfterTimeLimit: shareMs,
    timeout: MAX_CASE_MS,
    plugins: watch.plugins,
  };
}

/** Seed and path of a run that shall be had again. */
export function startingPoint(): { seed?: number; path?: string } {
  const seed = fromEnvironment('FUZZ_SEED');
  const path = process.env.FUZZ_PATH;
  return { ...(seed !== undefined && { seed }), ...(path !== undefined && { path }) };
}

/** Seconds that the conversations are given. */
export function fuzzSeconds(): number {
  return fromEnvironment('FUZZ_SECONDS') ?? 20;
}

/** How many properties the test file has that is being run. */
function propertiesOf(file: string | undefined): number {
  const calls = file?.endsWith('.test.ts') ? readFileSync(file, 'utf8').match(/\bfuzzParameters\(/g) : null;
  return Math.max(1, calls?.length ?? 1);
}

/** @throws RangeError when the variable holds anything but a number. */
function fromEnvironment(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new RangeError(`${name} must be a number, not ${text}`);
  return value;
}
