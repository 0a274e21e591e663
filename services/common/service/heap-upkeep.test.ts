import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { HeapUpkeep } from './heap-upkeep.ts';

const SMALL = 15 * 1024 * 1024;
const LARGE = 300 * 1024 * 1024;

let heap: number;
let done: string[];
let upkeep: HeapUpkeep;

beforeEach(() => {
  heap = SMALL;
  done = [];
  upkeep = new HeapUpkeep({
    trim: () => done.push('trim'),
    heapBytes: () => heap,
    setGrowth: (percent) => done.push(`growth ${percent}`),
  });
  upkeep.begin();
  assert.deepEqual(done.splice(0), ['growth 200', 'trim']);
});

function look(...utilizations: number[]): string[] {
  for (const utilization of utilizations) upkeep.look(utilization);
  return done.splice(0);
}

describe('HeapUpkeep', () => {
  it('trims once after a load, when there has been none for three looks', () => {
    assert.deepEqual(look(0.9, 0.5, 0, 0), []);
    assert.deepEqual(look(0), ['trim']);
    assert.deepEqual(look(0, 0, 0, 0, 0, 0), []);
    assert.deepEqual(look(0.9, 0, 0, 0), ['trim']);
  });

  it('leaves a process alone that never had a load', () => {
    assert.deepEqual(look(0, 0.009, 0.03, 0, 0, 0, 0), []);
  });

  it('waits where a little goes on, which a collection would hold up', () => {
    assert.deepEqual(look(0.9, 0, 0, 0.02, 0, 0, 0.02, 0, 0), []);
    assert.deepEqual(look(0), ['trim']);
  });

  it('neither trims a large heap, which would take long, nor lets it grow by more than the run time would', () => {
    heap = LARGE;
    assert.deepEqual(look(0.9), ['growth 0']);
    assert.deepEqual(look(0, 0, 0, 0), []);
    heap = SMALL;
    assert.deepEqual(look(0.9), ['growth 200']);
    assert.deepEqual(look(0, 0, 0), ['trim']);
  });
});
