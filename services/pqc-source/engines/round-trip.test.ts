import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { algorithmOf, toyKem } from '#test/helpers/toy-kem.ts';
import { roundTrip } from './round-trip.ts';

const row = algorithmOf('light');
const isZero = (bytes: Buffer) => bytes.every((byte) => byte === 0);

describe('the round trip of a self-test', () => {
  it('passes an engine whose ends agree and that a tampered ciphertext misleads; wipes every secret', async () => {
    const { engine, calls, secrets, counts } = toyKem();
    await roundTrip(engine, row);
    assert.deepEqual(calls, ['generate 1', 'encapsulate 1', 'decapsulate 1', 'decapsulate 1']);
    assert.equal(secrets.length, 3);
    assert.ok(secrets.every(isZero));
    assert.equal(counts().wiped, 1);
  });

  it('passes an engine that refuses the tampered ciphertext', async () => {
    let asked = 0;
    const good = toyKem();
    const { engine } = toyKem({
      decapsulate: (...call) =>
        asked++ === 0 ? good.engine.decapsulate(...call) : Promise.reject(new Error('no')),
    });
    await roundTrip(engine, row);
  });

  it('fails one that gives another secret, or the right one for a ciphertext that is wrong', async () => {
    const right = Buffer.alloc(row.sharedSecretBytes, 9);
    for (const given of [Buffer.alloc(row.sharedSecretBytes, 8), right]) {
      const { engine, counts } = toyKem({ decapsulate: async () => Buffer.from(given) });
      await assert.rejects(
        roundTrip(engine, row),
        (error) =>
          isReason(error, 'INTERNAL') &&
          String(error).includes(`openssl fails its self-test with ${row.name}`),
      );
      assert.equal(counts().wiped, 1);
    }
  });
});
