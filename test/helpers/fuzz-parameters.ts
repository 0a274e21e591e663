/**
 * How often a property is tried, and where fast-check starts. A failure prints
 * seed and path: FUZZ_SEED and FUZZ_PATH have it again (in a run of that
 * property alone, since they hold for every one that is run), and FUZZ_RUNS
 * makes a night of it.
 */
export function fuzzParameters(numRuns: number): { numRuns: number; seed?: number; path?: string } {
  return { numRuns: fromEnvironment('FUZZ_RUNS') ?? numRuns, ...startingPoint() };
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

/** @throws RangeError when the variable holds anything but a number. */
function fromEnvironment(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new RangeError(`${name} must be a number, not ${text}`);
  return value;
}
