import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { algorithmOf, toyKem } from '#test/helpers/toy-kem.ts';
import { measureKem, SPEED_BATCH } from './measure-kem.ts';

describe('measureKem', () => {
  for (const cost of ['light', 'medium'] as const) {
    it(`makes one batch at least of what is ${cost}, after one call that warms up, and wipes all of it`, async () => {
      const { engine, calls, secrets, counts } = toyKem();
      const speed = await measureKem(engine, algorithmOf(cost), 0);
      const count = SPEED_BATCH[cost];
      assert.deepEqual(calls, [
        'generate 1',
        `generate ${count}`,
        `encapsulate ${count}`,
        `decapsulate ${count}`,
      ]);
      for (const us of Object.values(speed)) assert.ok(us >= 0 && Number.isFinite(us), `${us}`);
      assert.ok(secrets.every((secret) => secret.every((byte) => byte === 0)));
      assert.equal(counts().wiped, 2);
    });
  }

  it('uses each batch of slow keys several times, and makes none to warm up', async () => {
    const { engine, calls } = toyKem();
    await measureKem(engine, algorithmOf('heavy'), 0, 3);
    assert.equal(calls[0], 'generate 3');
    assert.equal(calls.filter((call) => call === 'generate 3').length, 1);
    assert.equal(calls.filter((call) => call === 'encapsulate 3').length, 5);
  });

  it('repeats for as long as it may, and tells the fastest in microseconds for one operation', async () => {
    let slow = true;
    const quick = toyKem();
    const { engine } = toyKem({
      decapsulate: async (...call) => {
        if (slow) await new Promise((resolve) => setTimeout(resolve, 40));
        slow = false;
        return quick.engine.decapsulate(...call);
      },
    });
    const started = performance.now();
    const { decapsulate } = await measureKem(engine, algorithmOf('light'), 120, 2);
    assert.ok(performance.now() - started >= 115);
    assert.ok(decapsulate < 20_000, `${decapsulate} µs`);
  });
});
