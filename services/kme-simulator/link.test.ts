import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type LinkOptions, SimulatedLink } from './link.ts';

const [S, D] = ['qkd://app@a', 'qkd://app@b'];

function linkOf(change: Partial<LinkOptions> = {}): SimulatedLink {
  return new SimulatedLink({
    supply: { spend: () => true },
    maxHeldBytes: 1 << 20,
    ...change,
  });
}

function opened(result: ReturnType<SimulatedLink['open']>) {
  assert.equal(result.status, 0);
  return result.ksid as string;
}

describe('SimulatedLink', () => {
  it('gives both ends the same keys in the same order, each once', () => {
    const link = linkOf();
    const ksid = opened(link.open(0, S, D, 16));
    assert.equal(opened(link.open(1, S, D, 16, ksid)), ksid);
    const atA = [link.take(0, ksid), link.take(0, ksid), link.take(0, ksid)];
    const atB = [link.take(1, ksid), link.take(1, ksid), link.take(1, ksid), link.take(1, ksid)];
    assert.deepEqual(atB.slice(0, 3), atA);
    assert.deepEqual(link.take(0, ksid), atB[3]);
    assert.deepEqual([link.made, link.heldBytes], [4, 0]);
  });

  it('pairs equal URIs in order of arrival, between any two ends', () => {
    const link = linkOf();
    const first = opened(link.open(0, S, D, 16));
    const second = opened(link.open(0, S, D, 16));
    const other = opened(link.open(2, S, 'qkd://app@c', 16));
    assert.equal(opened(link.open(1, S, D, 16)), first);
    assert.equal(opened(link.open(1, S, D, 16)), second);
    assert.equal(opened(link.open(0, S, 'qkd://app@c', 16)), other);
    assert.equal(link.streams, 3);
    assert.notEqual(first, second);
  });

  it('refuses a third end, the same end twice, and a KSID of other URIs', () => {
    const link = linkOf();
    const ksid = opened(link.open(0, S, D, 16));
    assert.equal(link.open(0, S, D, 16, ksid).status, 5);
    assert.equal(link.open(1, S, 'qkd://else@b', 16, ksid).status, 5);
    opened(link.open(1, S, D, 16, ksid));
    assert.equal(link.open(2, S, D, 16, ksid).status, 5);
    assert.equal(link.take(2, ksid), null);
    assert.equal(link.take(0, 'unknown'), null);
  });

  it('lets a predefined KSID be opened from either end first', () => {
    const link = linkOf();
    assert.equal(opened(link.open(1, S, D, 16, 'predefined')), 'predefined');
    assert.equal(opened(link.open(0, S, D, 16, 'predefined')), 'predefined');
  });

  it('tells the first end when the second has come', async () => {
    const link = linkOf();
    const result = link.open(0, S, D, 16);
    assert.ok(result.status === 0);
    link.open(1, S, D, 16);
    await result.joined;
  });

  it('makes no key that its supply does not have, and gives the other end what is made already', () => {
    let left = 5;
    const link = linkOf({ supply: { spend: (bytes) => bytes === 32 && left-- > 0 } });
    const ksid = opened(link.open(0, S, D, 32));
    for (let i = 0; i < 5; i++) assert.ok(link.take(0, ksid));
    assert.equal(link.take(0, ksid), undefined);
    opened(link.open(1, S, D, 32, ksid));
    for (let i = 0; i < 5; i++) assert.ok(link.take(1, ksid));
    assert.equal(link.take(1, ksid), undefined);
  });

  it('holds no more than it may for an end that does not fetch', () => {
    const link = linkOf({ maxHeldBytes: 100 });
    const ksid = opened(link.open(0, S, D, 32));
    opened(link.open(1, S, D, 32, ksid));
    assert.ok(link.take(0, ksid) && link.take(0, ksid) && link.take(0, ksid));
    assert.equal(link.take(0, ksid), undefined);
    assert.ok(link.take(1, ksid));
    assert.ok(link.take(0, ksid));
    assert.equal(link.heldBytes, 96);
  });

  it('keeps what the other end has not fetched until that closes too', () => {
    const link = linkOf();
    const ksid = opened(link.open(0, S, D, 16));
    opened(link.open(1, S, D, 16, ksid));
    const key = link.take(0, ksid);
    assert.equal(link.close(0, ksid), true);
    assert.equal(link.close(0, ksid), false);
    assert.deepEqual(link.take(1, ksid), key);
    assert.equal(link.take(1, ksid), undefined);
    assert.equal(link.open(0, S, D, 16, ksid).status, 5);
    assert.equal(link.close(1, ksid), true);
    assert.deepEqual([link.streams, link.heldBytes], [0, 0]);
  });

  it('drops at once what nobody can fetch any more', () => {
    const link = linkOf();
    const ksid = opened(link.open(0, S, D, 16));
    opened(link.open(1, S, D, 16, ksid));
    link.take(0, ksid);
    link.close(1, ksid);
    assert.equal(link.heldBytes, 0);
    const alone = opened(link.open(0, S, D, 16));
    link.close(0, alone);
    assert.notEqual(opened(link.open(1, S, D, 16)), alone);
  });
});
