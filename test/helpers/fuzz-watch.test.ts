import assert from 'node:assert/strict';
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
    const { plugins } = new FuzzWatch({ settledAfterMs: 60_000, maxCaseMs: 20 });
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
});
