import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Faults } from './faults.ts';

describe('the faults of one end', () => {
  it('happen as often as asked, and then no more', () => {
    const faults = new Faults();
    assert.equal(faults.kind, undefined);
    faults.set('drop', 2);
    assert.equal(faults.strikes('hang'), false, 'another one does not count');
    assert.deepEqual(
      [faults.strikes('drop'), faults.strikes('drop'), faults.strikes('drop')],
      [true, true, false],
    );
    assert.equal(faults.kind, undefined);
  });

  it('go on until told otherwise where no number is said', () => {
    const faults = new Faults();
    faults.set('dry');
    for (let i = 0; i < 1000; i++) assert.ok(faults.strikes('dry'));
    faults.set(undefined);
    assert.equal(faults.strikes('dry'), false);
  });

  it('are replaced by the next, with its own number', () => {
    const faults = new Faults();
    faults.set('zero', 5);
    faults.set('repeat', 1);
    assert.equal(faults.strikes('zero'), false);
    assert.equal(faults.strikes('repeat'), true);
    assert.equal(faults.kind, undefined);
  });
});
