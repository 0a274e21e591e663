import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ALICE, configOf } from '#test/helpers/openings.ts';
import { peerQuotas } from './peer-quotas.ts';

const limits = (change: object = {}) => ({ ...configOf(ALICE).limits, ...change });

describe('peerQuotas', () => {
  it('gives a single peer everything, and several their even parts', () => {
    assert.deepEqual(peerQuotas(limits(), 1), { streams: 10_000, offers: 5_000, heldBytes: 33_554_432 });
    assert.equal(peerQuotas(limits(), 0).streams, 10_000);
    assert.deepEqual(peerQuotas(limits(), 20_000), { streams: 1, offers: 1, heldBytes: 33_554_432 });
    for (const peers of [2, 3, 50, 20_000]) {
      const { streams, offers } = peerQuotas(limits(), peers);
      assert.ok(streams >= 1 && offers >= 1);
      if (peers <= 10_000) assert.ok(streams * peers <= 10_000);
      assert.ok(streams === 1 || offers < streams, 'nothing is left for own applications');
    }
  });

  it('takes what the configuration says', () => {
    const said = limits({
      ...{ max_streams_per_peer: 7, max_open_offers_per_peer: 3, max_held_bytes_per_peer: 65_536 },
    });
    assert.deepEqual(peerQuotas(said, 5), { streams: 7, offers: 3, heldBytes: 65_536 });
  });
});
