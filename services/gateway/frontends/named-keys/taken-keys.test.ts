import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { KeptKeys } from './taken-keys.ts';

const keyed = () => ({ key: new Secret(Buffer.alloc(32, 1)) });

describe('keys that are kept', () => {
  it('are given away once, the oldest first or by name', () => {
    const kept = new KeptKeys<number, { key: Secret }>(10);
    const [first, second, third] = [keyed(), keyed(), keyed()];
    for (const [name, each] of [first, second, third].entries()) kept.keep(name, each, 100);
    assert.equal(kept.take(1), second);
    assert.equal(kept.take(1), undefined);
    assert.equal(kept.takeFirst(), first);
    assert.equal(kept.takeFirst(), third);
    assert.equal(kept.takeFirst(), undefined);
    assert.ok(![first, second, third].some(({ key }) => key.wiped));
  });

  it('are wiped when their time is over, when there are too many, and at the end', () => {
    const kept = new KeptKeys<number, { key: Secret }>(2);
    const [first, second, third] = [keyed(), keyed(), keyed()];
    kept.keep(1, first, 100);
    kept.keep(2, second, 200);
    kept.keep(3, third, 300);
    assert.deepEqual([first.key.wiped, kept.size], [true, 2]);
    kept.wipeEnded(199);
    assert.equal(second.key.wiped, false);
    kept.wipeEnded(200);
    assert.deepEqual([second.key.wiped, third.key.wiped, kept.size], [true, false, 1]);
    kept.wipeAll();
    assert.deepEqual([third.key.wiped, kept.size], [true, 0]);
  });
});
