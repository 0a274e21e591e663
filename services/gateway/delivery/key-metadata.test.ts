import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { BOB, CAROL, keyStream } from '#test/helpers/streams.ts';
import type { Degraded } from '../streams/policy/lacking.ts';
import { keyMetadata } from './key-metadata.ts';

const chunkOf = (degraded: Degraded = false) => ({
  ...{ index: 7, key: new Secret(Buffer.alloc(1)), availableAtMs: 0, degraded },
});
const stream = keyStream({ clock: new FakeClock(12) });
const textOf = (sources: string, policy: string, isMet: boolean, degraded: boolean) =>
  `{"age":12,"hops":0,"sources":[${sources}],"method":"hkdf-sha384","policy":"${policy}","policy_met":${isMet},"degraded":${degraded}}`;
const all = (degraded: boolean) =>
  textOf(degraded ? '"ML-KEM-768","SHARED-SEED"' : '"ML-KEM-768","QKD"', 'all', !degraded, degraded);
const LEAST = '{"age":12,"hops":0}';

describe('the metadata of a key', () => {
  it('says where the key comes from, and what stood in for a source', () => {
    assert.equal(keyMetadata(chunkOf(), stream, undefined), all(false));
    assert.equal(keyMetadata(chunkOf('shared_seed'), stream, undefined), all(true));
  });

  it('says what was left out by what it does not name, and the policy that lets it be', () => {
    for (const [policy, mayLack] of [
      ['any', { qkd: true, pqc: true }],
      ['qkd-required', { qkd: false, pqc: true }],
      ['pqc-required', { qkd: true, pqc: false }],
    ] as const) {
      const loose = keyStream({ clock: new FakeClock(12), mayLack });
      const whole = textOf('"ML-KEM-768","QKD"', policy, true, false);
      assert.equal(keyMetadata(chunkOf(), loose, undefined), whole);
      if (mayLack.qkd)
        assert.equal(
          keyMetadata(chunkOf('qkd'), loose, undefined),
          textOf('"ML-KEM-768"', policy, true, true),
        );
      if (mayLack.pqc)
        assert.equal(keyMetadata(chunkOf('pqc'), loose, undefined), textOf('"QKD"', policy, true, true));
    }
  });

  it('counts the nodes between, and the time since both ends had confirmed it', () => {
    const route = { nextHop: CAROL, farNode: BOB, hops: 2 };
    const far = keyStream({ route, clock: new FakeClock(1_000.9) });
    const { age, hops } = JSON.parse(keyMetadata({ ...chunkOf(), availableAtMs: 300 }, far, undefined));
    assert.deepEqual([age, hops], [700, 2]);
  });

  it('is none where the QoS wants none', () => {
    const plain = keyStream({ qos: { metadataMimetype: '' } });
    assert.equal(keyMetadata(chunkOf(), plain, undefined), '');
    assert.equal(keyMetadata(chunkOf(), plain, { room: 0, whenTooSmall: 'refuse' }), '');
  });

  it('that may be shortened is what the standard asks for where there is no room for more, or nothing', () => {
    const of = (room: number) => keyMetadata(chunkOf(), stream, { room, whenTooSmall: 'shorten' });
    const { length } = all(false);
    assert.deepEqual([of(length), of(length - 1)], [all(false), LEAST]);
    assert.deepEqual([of(LEAST.length), of(LEAST.length - 1), of(0)], [LEAST, '', '']);
  });

  it('that must not be shortened is refused where there is no room for all, saying how much it takes', () => {
    const { length } = all(false);
    assert.equal(keyMetadata(chunkOf(), stream, { room: length, whenTooSmall: 'refuse' }), all(false));
    assert.throws(
      () => keyMetadata(chunkOf(), stream, { room: length - 1, whenTooSmall: 'refuse' }),
      (error) =>
        isReason(error, 'METADATA_TOO_SMALL') &&
        String(error).includes(`has ${length} bytes and there is room for ${length - 1}`),
    );
  });
});
