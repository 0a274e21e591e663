import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, matchesGlob } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { coverageOf, reaches, type TestFileCoverage } from './coverage.ts';
import { isEquivalent, loadEquivalents, staleEquivalents } from './equivalents.ts';
import { type Mutant, mutantsOf } from './mutators.ts';
import { FAULT_VARIABLE, type Fault } from './plant.ts';
import { loadRooms, type Room } from './rooms.ts';
import { runTestFile } from './run-test-file.ts';

/** `unreached`: no test runs the place at all, so that it survives. */
export type Verdict = 'killed' | 'timed out' | 'survived' | 'unreached' | 'equivalent';

export interface Judged {
  readonly mutant: Mutant;
  readonly verdict: Verdict;
}

export interface RoomResult {
  readonly room: string;
  readonly judged: readonly Judged[];
  /** Killed or timed out, in percent of those that are not equivalent; 100 of none. */
  readonly score: number;
}

export interface TrialOptions {
  /** Root of the project; rooms and equivalents are read from `description`. */
  readonly root: string;
  /** Folder of rooms.json and equivalents.json. */
  readonly description: string;
  /** Folder for what is kept between runs. */
  readonly cache: string;
  readonly jobs: number;
  /** Only these rooms; all without it. */
  readonly rooms?: readonly string[];
  /** Only sources that match one of these patterns; all without it. */
  readonly files?: readonly string[];
  /** Only so many mutants, chosen by `seed`. */
  readonly sample?: number;
  readonly seed?: number;
  /** A test may take so much longer than it does undisturbed, and five times as long, before it counts as hanging. */
  readonly limitMs?: number;
  readonly onProgress?: (done: number, of: number) => void;
}

const PRELOAD = new URL('./plant.ts', import.meta.url).href;

const LIMIT_FACTOR = 5;
const LIMIT_MS = 5_000;

/**
 * Plants every mutant by itself and runs the tests that reach it, the quickest first.
 *
 * @throws Error for an entry of the list of equivalents that fits no mutant (of the rooms that are
 *   tried, or of none), an unknown room, or a test that fails as the code stands.
 */
export async function tryMutants(options: TrialOptions): Promise<RoomResult[]> {
  const { root, description, cache } = options;
  mkdirSync(cache, { recursive: true });
  const all = loadRooms(root, join(description, 'rooms.json'));
  const unknown = (options.rooms ?? []).filter((name) => !all.some((room) => room.name === name));
  if (unknown.length > 0) {
    const known = all.map((room) => room.name).join(', ');
    throw new Error(`there is no room ${unknown.join(' or ')}; there are: ${known}`);
  }
  const mutants = new Map(all.map((room) => [room, room.sources.flatMap((file) => mutantsIn(root, file))]));
  const listed = join(description, 'equivalents.json');
  const equivalents = existsSync(listed) ? loadEquivalents(listed) : [];
  const elsewhere = new Set(
    all.flatMap(({ name, sources }) => ((options.rooms ?? [name]).includes(name) ? [] : sources)),
  );
  const looked = equivalents.filter(({ file }) => !elsewhere.has(file));
  const [stale] = staleEquivalents(looked, [...mutants.values()].flat());
  if (stale) {
    throw new Error(
      `equivalents.json: no mutant "${stale.mutator}" of ${stale.file} fits the line ${JSON.stringify(stale.line)} any more; remove the entry or mend it`,
    );
  }
  const chosen = chooseFrom(mutants, options);
  const rooms = all.filter((room) => chosen.some((each) => each.room === room));
  const coverage = await coverageOfRooms(rooms, options);
  let done = 0;
  const verdicts = await inParallel(options.jobs, chosen, async ({ room, mutant }) => {
    const verdict = isEquivalent(equivalents, mutant)
      ? 'equivalent'
      : await judge(
          options,
          mutant,
          room.tests.map((test) => coverage.get(test) as TestFileCoverage),
        );
    options.onProgress?.(++done, chosen.length);
    return { room, mutant, verdict };
  });
  return rooms.map((room) => {
    const judged = verdicts.filter((each) => each.room === room);
    return { room: room.name, judged, score: scoreOf(judged) };
  });
}

const mutantsIn = (root: string, file: string) => mutantsOf(file, readFileSync(join(root, file), 'utf8'));

export function scoreOf(judged: readonly Judged[]): number {
  const counted = judged.filter(({ verdict }) => verdict !== 'equivalent');
  const found = counted.filter(({ verdict }) => verdict === 'killed' || verdict === 'timed out');
  return counted.length === 0 ? 100 : (100 * found.length) / counted.length;
}

function chooseFrom(
  mutants: ReadonlyMap<Room, readonly Mutant[]>,
  { rooms, files, sample, seed = 1 }: TrialOptions,
): { room: Room; mutant: Mutant }[] {
  const wanted = [...mutants].flatMap(([room, those]) =>
    rooms === undefined || rooms.includes(room.name)
      ? those
          .filter(({ file }) => files === undefined || files.some((pattern) => matchesGlob(file, pattern)))
          .map((mutant) => ({ room, mutant }))
      : [],
  );
  if (sample === undefined || sample >= wanted.length) return wanted;
  const random = randomFrom(seed);
  const picked = new Set<number>();
  while (picked.size < sample) picked.add(Math.floor(random() * wanted.length));
  return wanted.filter((_, i) => picked.has(i));
}

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function coverageOfRooms(
  rooms: readonly Room[],
  { root, cache, jobs }: TrialOptions,
): Promise<Map<string, TestFileCoverage>> {
  const tests = [...new Set(rooms.flatMap((room) => room.tests))];
  const coverage = await inParallel(jobs, tests, (test) => coverageOf(root, cache, test));
  return new Map(coverage.map((each) => [each.test, each]));
}

async function judge(
  { root, limitMs = LIMIT_MS }: TrialOptions,
  mutant: Mutant,
  tests: readonly TestFileCoverage[],
): Promise<Verdict> {
  const { file, start, end, after } = mutant;
  const reaching = tests.filter((test) => reaches(test, file, start)).sort((a, b) => a.ms - b.ms);
  const fault: Fault = { url: pathToFileURL(join(root, file)).href, start, end, after };
  for (const { test, ms } of reaching) {
    const { outcome } = await runTestFile(root, test, {
      limitMs: limitMs + LIMIT_FACTOR * ms,
      preload: PRELOAD,
      environment: { [FAULT_VARIABLE]: JSON.stringify(fault) },
    });
    if (outcome !== 'passed') return outcome === 'failed' ? 'killed' : 'timed out';
  }
  return reaching.length === 0 ? 'unreached' : 'survived';
}

async function inParallel<T, R>(
  jobs: number,
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i] as T);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return results;
}

/** The folder of the project's own rooms and equivalents. */
export const OWN_DESCRIPTION = fileURLToPath(new URL('.', import.meta.url));
