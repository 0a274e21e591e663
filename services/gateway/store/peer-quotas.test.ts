import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ALICE, BOB, CAROL, ksidOf, openingsOf, wishOf } from '#test/helpers/openings.ts';
import { peerQuotas } from './peer-quotas.ts';

const limits = (change: object = {}) => ({ ...openingsOf(ALICE).config.limits, ...change });

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

describe('streams with one peer', () => {
  it('have a limit, named, which those with another do not feel, and which is free again at their end', async () => {
    const alice = openingsOf(ALICE, { max_streams: 6 }, 2);
    const open = (n: number, peer: string) =>
      alice.rendezvous.openAsInitiator({
        ...wishOf(`app-${n}`, ALICE, peer),
        ...{ ksid: ksidOf(n).text, predefined: false },
      });
    const first = await open(0, BOB);
    await open(1, BOB);
    await open(2, BOB);
    await assert.rejects(open(3, BOB), (error: Error) => {
      assert.ok(isReason(error, 'LIMIT_EXCEEDED'));
      assert.match(
        error.message,
        /limit of 3 open streams with node bbbbbbbb.*\(limits.max_streams_per_peer\)/,
      );
      return true;
    });
    for (const n of [4, 5, 6]) await open(n, CAROL);
    alice.registry.remove(first);
    alice.registry.remove(first);
    await open(7, BOB);
    await assert.rejects(open(8, BOB), /LIMIT_EXCEEDED/);
  });
});
