import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { tryMutants } from './trial.ts';

let root: string;

/** A project of one room: a scale, and a test that sees some of its faults. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'keyweave-trial-'));
  mkdirSync(join(root, 'description'));
  write('scale.ts', [
    'export function isHeavy(grams: number): boolean {',
    '  return grams > 100;',
    '}',
    'export function nobodyAsks(): number {',
    '  return Math.max(1, 2);',
    '}',
  ]);
  write('scale.test.ts', [
    "import assert from 'node:assert/strict';",
    "import { it } from 'node:test';",
    "import { isHeavy } from './scale.ts';",
    "it('weighs', () => {",
    '  assert.equal(isHeavy(101), true);',
    '  assert.equal(isHeavy(5), false);',
    '});',
  ]);
  describeRooms({ scales: { files: ['*.ts'], tests: ['*.test.ts'] } });
});
afterEach(() => rmSync(root, { recursive: true }));

const write = (name: string, lines: string[]) => writeFileSync(join(root, name), `${lines.join('\n')}\n`);
const describeRooms = (rooms: object) =>
  writeFileSync(join(root, 'description/rooms.json'), JSON.stringify(rooms));
const excuse = (...entries: object[]) =>
  writeFileSync(join(root, 'description/equivalents.json'), JSON.stringify(entries));

async function verdicts(options: object = {}): Promise<string[]> {
  const results = await tryMutants({
    root,
    description: join(root, 'description'),
    cache: join(root, 'cache'),
    jobs: 1,
    ...options,
  });
  return results.flatMap(({ judged, score }) => [
    ...judged.map(({ mutant, verdict }) => `${verdict}: ${mutant.mutator} of ${mutant.lineBefore}`),
    `${score.toFixed(0)} %`,
  ]);
}

const BOUNDARY = { file: 'scale.ts', mutator: 'boundary', line: 'return grams > 100;', why: 'for the test' };

describe('the trial of mutants', () => {
  it('finds what a test finds, and tells what survives from what no test reaches', async () => {
    assert.deepEqual(await verdicts(), [
      'killed: return of return grams > 100;',
      'survived: boundary of return grams > 100;',
      'killed: negation of return grams > 100;',
      'killed: number of return grams > 100;',
      'unreached: return of return Math.max(1, 2);',
      'unreached: number of return Math.max(1, 2);',
      'unreached: number of return Math.max(1, 2);',
      '43 %',
    ]);
  });

  it('counts a mutant that hangs as found, and leaves nothing running', async () => {
    write('scale.ts', [
      'export function isHeavy(grams: number): boolean {',
      '  for (let left = grams; left > 0; ) left -= 100;',
      '  return grams === 101;',
      '}',
    ]);
    const found = await verdicts({ limitMs: 500 });
    assert.ok(found.includes('timed out: arithmetic of for (let left = grams; left > 0; ) left -= 100;'));
  });

  it('leaves what is listed as equivalent out of the score', async () => {
    excuse(BOUNDARY);
    const found = await verdicts();
    assert.ok(found.includes('equivalent: boundary of return grams > 100;'));
    assert.equal(found.at(-1), '50 %');
  });

  it('refuses an entry that fits no mutant, a room whose files have gone, and tests that fail anyway', async () => {
    excuse(BOUNDARY, { ...BOUNDARY, line: 'return grams > 200;' });
    await assert.rejects(verdicts(), /no mutant "boundary" of scale\.ts fits the line "return grams > 200;"/);
    excuse({ ...BOUNDARY, why: '' });
    await assert.rejects(verdicts(), /lacks file, mutator, line or why/);
    excuse();
    await assert.rejects(verdicts({ rooms: ['stairs'] }), /no room stairs; there are: scales/);
    describeRooms({ scales: { files: ['balance.ts'], tests: [] } });
    await assert.rejects(verdicts(), /room scales: nothing is named balance\.ts/);
    describeRooms({ scales: { files: ['scale.ts'], tests: ['*.test.ts'] } });
    write('scale.test.ts', ["throw new Error('broken');"]);
    await assert.rejects(verdicts(), /scale\.test\.ts does not pass as the code stands/);
  });

  it('leaves the entries of rooms that are not tried alone, but not those of no room', async () => {
    write('ruler.ts', ['export const isLong = (metres: number) => metres > 3;']);
    describeRooms({
      rulers: { files: ['ruler.ts'], tests: [] },
      scales: { files: ['scale.ts'], tests: ['*.test.ts'] },
    });
    excuse(BOUNDARY, { ...BOUNDARY, file: 'ruler.ts' });
    assert.ok((await verdicts({ rooms: ['scales'] })).length > 0);
    await assert.rejects(verdicts({ rooms: ['rulers'] }), /no mutant "boundary" of ruler\.ts/);
    await assert.rejects(verdicts(), /no mutant "boundary" of ruler\.ts/);
    excuse({ ...BOUNDARY, file: 'gone.ts' });
    await assert.rejects(verdicts({ rooms: ['scales'] }), /no mutant "boundary" of gone\.ts/);
  });

  it('draws the same sample for the same seed', async () => {
    const sample = (seed: number) => verdicts({ sample: 2, seed });
    assert.deepEqual(await sample(5), await sample(5));
    assert.equal((await sample(5)).length, 3);
  });
});
