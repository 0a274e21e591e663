import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planOf, simulate } from './simulate.ts';

/** How long seeds are tried that nobody has tried before. */
const SECONDS = 10;

describe('the simulated world', () => {
  it('is the same each time that a seed is run, and another one for another seed', async () => {
    const [once, again, other] = [
      await simulate(planOf(41)),
      await simulate(planOf(41)),
      await simulate(planOf(42)),
    ];
    assert.equal(once.digest, again.digest);
    assert.equal(once.events, again.events);
    assert.notEqual(once.digest, other.digest);
    assert.ok(once.keys > 0, 'no application got a key');
  });

  it('survives what a plan may do to it (make simulate for longer)', async () => {
    const first = Number(process.env.SIMULATION_SEED ?? Math.floor(Math.random() * 2 ** 31));
    const until = performance.now() + SECONDS * 1_000;
    let keys = 0;
    let seed = first;
    do {
      const run = await simulate(planOf(seed));
      keys += run.keys;
      assert.deepEqual(run.violations, [], `make simulate ARGS="--seed ${seed} --runs 1"`);
      seed += 1;
    } while (performance.now() < until);
    assert.ok(keys > 0);
    console.log(`seeds ${first} to ${seed - 1}, ${keys} keys`);
  });
});
