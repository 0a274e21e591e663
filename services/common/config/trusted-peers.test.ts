import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { trustedPeersSchema } from '#common/config/trusted-peers.ts';

const BOB = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const address = { host: '127.0.0.2', port: 20_000 };

describe('trusted_peers_info.json', () => {
  it('names peers by UUID in any case, with an address and perhaps a seed', () => {
    const peers = trustedPeersSchema.parse({ [BOB.toUpperCase()]: { address, shared_seed: 'für uns zwei' } });
    assert.deepEqual(Object.keys(peers), [BOB]);
    assert.deepEqual(peers[BOB]?.address, address);
    assert.deepEqual(peers[BOB]?.shared_seed?.expose(), Buffer.from('für uns zwei'));
    assert.equal(trustedPeersSchema.parse({ [BOB]: { address } })[BOB]?.shared_seed, undefined);
  });

  it('keeps a seed where it does not print', () => {
    const peers = trustedPeersSchema.parse({ [BOB]: { address, shared_seed: 'told to nobody' } });
    assert.doesNotMatch(JSON.stringify(peers), /told to nobody/);
  });

  it('refuses seeds that are found by trying, blanks not counted, and tells nothing of them', () => {
    assert.ok(trustedPeersSchema.safeParse({ [BOB]: { address, shared_seed: 'ääää' } }).success, '8 bytes');
    for (const seed of ['', '1234567', '  1234567  ']) {
      const { success, error } = trustedPeersSchema.safeParse({ [BOB]: { address, shared_seed: seed } });
      assert.equal(success, false, seed);
      assert.match(String(error), /at least 8 bytes/);
      assert.doesNotMatch(String(error), /1234567/);
    }
  });

  it('refuses what is no UUID, no address, or written wrong', () => {
    for (const bad of [
      { Bob: { address } },
      { [BOB]: {} },
      { [BOB]: { address: { host: 'a' } } },
      { [BOB]: { address, sharedSeed: '12345678' } },
    ])
      assert.equal(trustedPeersSchema.safeParse(bad).success, false, JSON.stringify(bad));
  });
});
