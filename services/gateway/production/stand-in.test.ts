import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { describe, it, mock } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { BOB, keyStream } from '#test/helpers/streams.ts';
import type { SharedSeeds } from '../clients/shared-seeds.ts';
import { standInSecrets } from './stand-in.ts';

const stream = keyStream();
const isZero = (bytes: Buffer) => bytes.every((byte) => byte === 0);

describe('standInSecrets', () => {
  const seed = Buffer.from('a seed that both nodes know');
  const withSeed = (bytes: Buffer | undefined): SharedSeeds => ({
    of: () => bytes && new Secret(Buffer.from(bytes)),
  });

  it('derives from the seed what both ends can: by stream, incarnation, slot and index', () => {
    const made = standInSecrets(withSeed(seed), { stream, first: 7, count: 2 }, 1);
    const expected = [7, 8].map((index) => {
      const place = Buffer.alloc(8);
      place.writeUInt32BE(1);
      place.writeUInt32BE(index, 4);
      const info = Buffer.concat([stream.idBytes, stream.incarnation, place]);
      return Buffer.from(hkdfSync('sha256', seed, 'keyweave v1 shared_seed', info, 32));
    });
    assert.deepEqual(made, Buffer.concat(expected));
  });

  it('leaves no copy behind', () => {
    const copies: Buffer[] = [];
    const from = Buffer.from.bind(Buffer) as (...args: unknown[]) => Buffer;
    const services = withSeed(seed);
    mock.method(Buffer, 'from', (...args: unknown[]) => {
      const copy = from(...args);
      copies.push(copy);
      return copy;
    });
    const made = standInSecrets(services, { stream, first: 0, count: 2 }, 1);
    mock.restoreAll();
    assert.ok(!copies.some((copy) => copy.length === 32 && made.includes(copy)));
    assert.ok(copies.filter((copy) => copy.length === 32).every(isZero));
  });

  it('says whose seed is missing', () => {
    const one = standInSecrets(withSeed(Buffer.from('x')), { stream, first: 0, count: 1 }, 1);
    assert.equal(one.length, 32);
    for (const none of [undefined, Buffer.alloc(0)]) {
      assert.throws(() => standInSecrets(withSeed(none), { stream, first: 0, count: 1 }, 1), {
        reason: 'AGREEMENT_FAILED',
        detail: `there is no shared_seed for node ${BOB}`,
      });
    }
  });
});
