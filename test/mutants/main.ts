import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { printTable } from '../../services/cli/table.ts';
import { OWN_DESCRIPTION, type RoomResult, tryMutants, type Verdict } from './trial.ts';

/** Percent of the mutants of a room that its tests must find. */
const THRESHOLD = 85;

const { values: options } = parseArgs({
  options: {
    rooms: { type: 'string' },
    files: { type: 'string', multiple: true },
    sample: { type: 'string' },
    seed: { type: 'string' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    out: { type: 'string', default: '.cache/mutants/latest.json' },
  },
});

const countOf = ({ judged }: RoomResult, verdict: Verdict) =>
  judged.filter((each) => each.verdict === verdict).length;

function printSurvivors({ room, judged }: RoomResult): void {
  for (const { mutant, verdict } of judged) {
    if (verdict !== 'survived' && verdict !== 'unreached') continue;
    const { file, line, mutator, lineBefore, lineAfter } = mutant;
    console.log(`${room}: ${file}:${line} ${mutator}, ${verdict}\n  - ${lineBefore}\n  + ${lineAfter}`);
  }
}

const started = performance.now();
const root = resolve('.');
const results = await tryMutants({
  root,
  description: OWN_DESCRIPTION,
  cache: join(root, '.cache/mutants/coverage'),
  jobs: Number(options.jobs),
  ...(options.rooms === undefined ? {} : { rooms: options.rooms.split(',') }),
  ...(options.files === undefined ? {} : { files: options.files }),
  ...(options.sample === undefined ? {} : { sample: Number(options.sample) }),
  ...(options.seed === undefined ? {} : { seed: Number(options.seed) }),
  onProgress: (done, of) => {
    if (done % 100 === 0) console.error(`${done} of ${of} mutants, ${seconds()} s`);
  },
});

for (const result of results) printSurvivors(result);
printTable(
  ['room', 'mutants', 'killed', 'timed out', 'survived', 'unreached', 'equivalent', 'score'],
  results.map((result) => [
    result.room,
    String(result.judged.length),
    ...(['killed', 'timed out', 'survived', 'unreached', 'equivalent'] as const).map((verdict) =>
      String(countOf(result, verdict)),
    ),
    `${result.score.toFixed(1)} %`,
  ]),
);
console.log(`${seconds()} s`);
mkdirSync(resolve(options.out, '..'), { recursive: true });
writeFileSync(options.out, JSON.stringify(results, undefined, 1));

// A part of a room says nothing about the whole.
const isWhole = options.files === undefined && options.sample === undefined;
const weak = results.filter(({ score }) => isWhole && score < THRESHOLD);
for (const { room, score } of weak)
  console.error(`${room}: ${score.toFixed(1)} % found, ${THRESHOLD} % is the least`);
if (weak.length > 0) process.exitCode = 1;

function seconds(): string {
  return ((performance.now() - started) / 1000).toFixed(0);
}
