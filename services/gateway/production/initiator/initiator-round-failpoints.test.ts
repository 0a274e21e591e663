import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-failpoints-'));
const file = join(folder, 'failpoints');
process.env.KEYWEAVE_FAILPOINTS = file;
// The failpoints look for the file's name as they are loaded.
const bench = await import('#test/helpers/round-bench.ts');

beforeEach(bench.newRound);
after(() => rmSync(folder, { recursive: true }));

describe('a round that fails between two steps wipes what it has, and goes no further', () => {
  for (const [name, last, dropped] of [
    ['initiator.offer', undefined, true],
    ['initiator.produce', 'generate', true],
    ['initiator.answered', 'produce', true],
    ['initiator.decapsulate', 'produce', true],
    ['initiator.derive', 'decapsulate', true],
    ['gateway.derive', 'decapsulate', true],
    ['initiator.confirm', 'derive', false],
    ['initiator.confirmed', 'confirm', false],
  ] as const) {
    it(name, async () => {
      writeFileSync(file, `${name} error\n`);
      const one = bench.entry();
      await bench.run(one);
      await bench.fails(one, 'INTERNAL', new RegExp(`failpoint ${name}`));
      const steps = bench.calls.filter((call) => !/^(use|drop) /.test(call));
      const qkd = bench.calls.filter((call) => /^(use|drop) /.test(call));
      const isBefore = ['initiator.offer', 'initiator.produce'].includes(name);
      const isAnswered = name === 'initiator.answered';
      assert.deepEqual(qkd, [isBefore ? 'drop 0 INTERNAL' : isAnswered ? 'drop 2 INTERNAL' : 'use 2']);
      assert.equal(steps.at(-1)?.split(' ')[0], last);
      assert.deepEqual(bench.dropped, dropped ? [5] : []);
      assert.deepEqual(
        bench.discarded,
        ['initiator.produce', 'initiator.answered'].includes(name) ? [0] : [],
      );
    });
  }
});
