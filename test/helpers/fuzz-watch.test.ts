import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FuzzWatch, growth } from './fuzz-watch.ts';

describe('a watched run of a fuzz test', () => {
  it('names what has grown by more than a process may', () => {
    const from = { liveMb: 20, rssMb: 100 };
    assert.equal(growth(from, { liveMb: 36, rssMb: 356 }), undefined);
    assert.equal(growth(from, { liveMb: 37, rssMb: 100 }), '20 to 37 MB in use');
    assert.equal(growth(from, { liveMb: 1, rssMb: 357 }), '100 to 357 MB resident');
  });

  it('fails at an input that takes too long, and at no other', () => {
    const { plugins } = new FuzzWatch({ lookEveryMs: 60_000, maxCaseMs: 20 });
    const taking = (ms: number) =>
      fc.property(fc.constant(ms), (each) => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, each);
      });
    fc.assert(taking(0), { plugins, numRuns: 2 });
    assert.throws(
      () => fc.assert(taking(40), { plugins, numRuns: 2 }),
      (error: Error) => /an input took \d+ ms/.test(String(error.cause)),
    );
  });

  it('judges by what a property holds once it has settled, not by what the one before held', () => {
    const first = 'watch.next(); fc.assert(light, parameters);';
    const settles = 'hold(); watch.next(); fc.assert(light, parameters);';
    const grows = 'watch.next(); fc.assert(growing, parameters);';
    assert.deepEqual(watched(`${first} ${settles}`), { status: 0, told: '' });
    const { status, told } = watched(`${first} ${grows} ${first}`);
    assert.equal(status, 1);
    assert.match(told, /^memory grew: \d+ to \d+ MB in use/);
  });
});

/** How a process ends that runs `steps`. */
function watched(steps: string): { status: number | null; told: string } {
  const script = `
    import fc from 'fast-check';
    import { FuzzWatch } from ${JSON.stringify(new URL('./fuzz-watch.ts', import.meta.url).href)};
    const watch = new FuzzWatch({ lookEveryMs: 0, maxCaseMs: 20_000 });
    const parameters = { plugins: watch.plugins, numRuns: 10 };
    const light = fc.property(fc.integer(), () => {});
    const held = [];
    const hold = () => held.push(Buffer.alloc(32_000_000));
    const growing = fc.property(fc.integer(), () => void hold());
    ${steps}
  `;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: import.meta.dirname,
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, told: stderr.trim() };
}
