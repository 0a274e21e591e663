import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Attempts, type Outcome } from './attempts.ts';

function attempts() {
  let nowMs = 0;
  let made = 0;
  const some = new Attempts(() => nowMs);
  const run = (outcome: Outcome | Error) =>
    some.run(async () => {
      made += 1;
      if (outcome instanceof Error) throw outcome;
      return outcome;
    });
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { some, run, made: () => made, pass };
}

describe('Attempts', () => {
  it('ends with what is known, until that holds no longer', async () => {
    const { some, run, made, pass } = attempts();
    await run('known');
    pass(1e9);
    await run('known');
    assert.equal(made(), 1);
    some.again();
    assert.equal(some.due, false, 'a pause comes first');
    pass(60_000);
    await run('known');
    assert.equal(made(), 2);
  });

  it('makes pauses that grow, and six attempts in all', async () => {
    const { run, made, pass } = attempts();
    const at: number[] = [];
    for (let second = 0; second < 600; second++) {
      const before = made();
      await run(second % 2 === 0 ? 'unknown' : new Error('as the test says'));
      if (made() > before) at.push(second);
      pass(1000);
    }
    assert.deepEqual(at, [0, 1, 3, 7, 15, 31]);
  });

  it('counts anew when what was known has held for an hour, and not when it has not', async () => {
    const { some, run, made, pass } = attempts();
    for (let i = 0; i < 20; i++) {
      await run('known');
      pass(600_000);
      some.again();
      pass(600_000);
    }
    assert.equal(made(), 3, 'an attempt, and the pause for what did not hold');
    const lasting = attempts();
    for (let day = 0; day < 20; day++) {
      await lasting.run('known');
      lasting.pass(86_400_000);
      lasting.some.again();
      lasting.pass(60_000);
    }
    assert.equal(lasting.made(), 20);
  });

  it('does not count what did not reach the key manager', async () => {
    const { run, made, pass } = attempts();
    for (let i = 0; i < 50; i++) {
      await run('unreached');
      pass(2_000);
    }
    await run('known');
    assert.equal(made(), 51);
  });

  it('is one at a time', async () => {
    const { some, made, run } = attempts();
    const held = Promise.withResolvers<Outcome>();
    const first = some.run(() => held.promise);
    await run('known');
    assert.equal(made(), 0);
    held.resolve('known');
    await first;
  });

  it('waits a moment before it goes again to a key manager that it did not reach', async () => {
    const { some, run, made, pass } = attempts();
    await run('unreached');
    pass(1_999);
    assert.equal(some.due, false);
    await run('known');
    assert.equal(made(), 1);
    pass(1);
    assert.equal(some.due, true);
  });

  it('is spent when nothing is known after the last one, and not before', async () => {
    const { some, run, pass } = attempts();
    for (let i = 0; i < 6; i++) {
      assert.equal(some.spent, false, `${i}`);
      await run('unknown');
      pass(3_600_000);
    }
    assert.deepEqual([some.spent, some.due], [true, false]);
    const lucky = attempts();
    for (let i = 0; i < 6; i++) {
      await lucky.run(i < 5 ? 'unknown' : 'known');
      lucky.pass(3_600_000);
    }
    assert.equal(lucky.some.spent, false, 'the last one has found it out');
    lucky.some.again();
    assert.equal(lucky.some.spent, false, 'it has held for an hour');
  });
});
