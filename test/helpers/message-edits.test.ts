import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { edited, WAYS } from './message-edits.ts';

const message = () => ({
  offers: [
    { keyStreamId: Buffer.alloc(4, 1), count: 2, keys: [{ slot: 0, bytes: Buffer.alloc(3, 2) }] },
    { keyStreamId: Buffer.alloc(4, 3), count: 4, keys: [] },
  ],
  qkd: { position: 5n, id: 'x' },
  waitedFor: true,
  nothing: undefined,
});

/** 0 offers, 1 its first, 2 keyStreamId, 3 count, 4 keys, 5 its first, 6 slot, 7 bytes, 8 the second offer … */
const one = (at: number, how: (typeof WAYS)[number], by = 0) => edited(message(), [{ at, how, by }]);

describe('edited', () => {
  it('leaves the message as it is and gives an equal copy where nothing is to be done', () => {
    const original = message();
    const copy = edited(original, []);
    assert.deepEqual(copy, original);
    assert.ok(Buffer.isBuffer(copy.offers[0]?.keyStreamId));
    edited(original, [{ at: 2, how: 'flip', by: 0 }]);
    assert.deepEqual(original, message());
  });

  it('reaches fields of every level by their number', () => {
    assert.equal(one(0, 'half').offers.length, 1);
    assert.equal(one(1, 'nothing').offers[0]?.count, 4);
    assert.deepEqual(one(2, 'flip', 1).offers[0]?.keyStreamId, Buffer.from([1, 3, 1, 1]));
    assert.equal(one(3, 'largest').offers[0]?.count, 0xffffffff);
    assert.equal(one(6, 'other', 9).offers[0]?.keys[0]?.slot, 9);
    assert.equal(one(7, 'more', 7).offers[0]?.keys[0]?.bytes.length, 4);
    assert.equal(one(12, 'nothing').qkd, undefined);
  });

  it('changes the message, in each of its fields and in each way that means anything there', () => {
    for (let at = 0; at < 16; at++) {
      const changed = WAYS.filter((how) => !isDeepStrictEqual(one(at, how, 1), message()));
      // An empty list can be nothing else, and what is undefined stays so.
      const least = at === 11 || at === 16 ? 0 : 1;
      assert.ok(changed.length >= least, `field ${at}: ${changed}`);
    }
  });

  it('stays within what can be sent, however often it is repeated', () => {
    const edits = Array.from({ length: 6 }, () => ({ at: 0, how: 'largest' as const, by: 0 }));
    assert.equal(edited(message(), edits).offers.length, 2_000);
    assert.equal(one(2, 'largest').offers[0]?.keyStreamId.length, 1_000_000);
  });
});
