import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { assertSound } from './sound-secrets.ts';

const NAMES = ['ML-KEM-768', 'QKD', 'HQC-128'];

/** What is refused, and that no byte of it is told. */
function refusal(secrets: readonly Buffer[]): string {
  try {
    assertSound(secrets, NAMES, 7);
  } catch (error) {
    assert.ok(error instanceof KeyweaveError && error.reason === 'SOURCE_FAULT');
    for (const secret of secrets)
      if (secret.some((byte) => byte !== 0))
        assert.doesNotMatch(error.detail, new RegExp(secret.toString('hex')));
    return error.detail;
  }
  return 'sound';
}

describe('the secrets of one chunk', () => {
  it('are sound where all differ and none is zeros, also of different lengths', () => {
    assert.equal(refusal([randomBytes(32), randomBytes(24), randomBytes(64)]), 'sound');
    for (const at of [0, 31]) {
      const almost = Buffer.alloc(32);
      almost[at] = 1;
      assert.equal(refusal([randomBytes(32), almost]), 'sound', `byte ${at} counts`);
    }
  });

  it('are refused where a slot gave zeros, naming it', () => {
    assert.match(refusal([randomBytes(32), Buffer.alloc(32)]), /slot 2 \(QKD\) gave zeros for chunk 7/);
  });

  it('are refused where two slots gave the same, any two and whatever their lengths', () => {
    const [one, other] = [randomBytes(32), randomBytes(32)];
    assert.match(
      refusal([one, other, Buffer.from(one)]),
      /slots 1 and 3 \(ML-KEM-768, HQC-128\) gave the same secret for chunk 7/,
    );
    assert.match(refusal([one, other, Buffer.from(other)]), /slots 2 and 3/);
    assert.match(refusal([one, Buffer.concat([one, randomBytes(32)])]), /slots 1 and 2/);
    const last = Buffer.from(one);
    last[31] = (last[31] as number) ^ 1;
    assert.equal(refusal([one, last]), 'sound');
  });
});
