import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { breaches, countDeliveries, type HistoryEntry, recoveryMs } from './delivery-history.ts';

const KEY_BYTES = 32;
let clock = 0;

function entry(end: 0 | 1, index: number, digest: string, changes: Partial<HistoryEntry> = {}): HistoryEntry {
  clock += 10;
  return {
    op: 'GET_KEY',
    application: `app-${end}`,
    ksid: 'stream-1',
    end,
    sentMs: clock - 5,
    answeredMs: clock,
    status: 0,
    message: '',
    index,
    digest,
    keyBytes: KEY_BYTES,
    ...changes,
  };
}

const refused = (end: 0 | 1, status: number | undefined, message: string): HistoryEntry =>
  entry(end, 0, '', { status, message, index: undefined, digest: undefined, keyBytes: undefined });

/** Sound: gaps, refusals in words, lost answers, and a key that only one end was told of. */
const sound = (): HistoryEntry[] => [
  entry(0, 0, 'k0'),
  entry(1, 0, 'k0'),
  refused(0, 2, 'no key'),
  entry(0, 3, 'k3'),
  entry(0, 4, 'k4'),
  refused(1, undefined, 'no answer'),
  entry(1, 4, 'k4'),
  entry(0, 0, 'other', { ksid: 'stream-2' }),
  entry(1, 0, 'other', { ksid: 'stream-2' }),
];

describe('breaches', () => {
  it('finds none in a sound history', () => assert.deepEqual(breaches(sound(), KEY_BYTES), []));

  const forgeries: [string, () => HistoryEntry[], RegExp][] = [
    ['two keys at one index', () => [entry(0, 9, 'x'), entry(1, 9, 'y')], /index 9: two different keys/],
    ['an index given twice', () => [entry(0, 9, 'x'), entry(0, 9, 'x')], /index 9 end 0: given twice/],
    [
      'an index that comes back later',
      () => [entry(0, 9, 'x'), entry(0, 10, 'y'), entry(0, 9, 'x')],
      /given twice/,
    ],
    ['indexes that go back', () => [entry(1, 9, 'x'), entry(1, 8, 'y')], /index 8 end 1: after index 9/],
    [
      'one key for two indexes',
      () => [entry(0, 9, 'x'), entry(1, 10, 'x')],
      /index 10: the key of stream-1 index 9/,
    ],
    [
      'one key for two streams',
      () => [entry(0, 9, 'x'), entry(0, 9, 'x', { ksid: 'stream-2' })],
      /stream-2 index 9: the key of stream-1 index 9/,
    ],
    ['a short key', () => [entry(0, 9, 'x', { keyBytes: 31 })], /31 bytes, not 32/],
    ['success without a key', () => [entry(0, 9, 'x', { digest: undefined })], /without a key/],
    ['success without an index', () => [entry(0, 9, 'x', { index: undefined })], /without a key or an index/],
    ['a refusal without words', () => [refused(1, 3, '')], /end 1: status 3 without a word/],
  ];
  for (const [what, forge, expected] of forgeries) {
    it(`finds ${what}`, () => {
      const found = breaches([...sound(), ...forge()], KEY_BYTES);
      assert.ok(
        found.some((line) => expected.test(line)),
        `${found}`,
      );
    });
  }

  it('judges by the order of answers, not of the records', () => {
    const [first, second] = [entry(0, 5, 'x'), entry(0, 6, 'y')];
    assert.deepEqual(breaches([second, first], KEY_BYTES), []);
  });
});

describe('countDeliveries', () => {
  it('tells keys of both ends from those of one', () => {
    assert.deepEqual(countDeliveries(sound()), { both: 3, alone: 1 });
  });
});

describe('recoveryMs', () => {
  const at = (end: 0 | 1, answeredMs: number, status: number | undefined): HistoryEntry => ({
    ...refused(end, status, 'as it is'),
    answeredMs,
  });

  it('is the first success after the last trouble, of the slowest', () => {
    const history = [at(0, 90, 6), at(0, 110, 6), at(0, 120, 0), at(0, 130, 2), at(0, 150, 0), at(1, 140, 0)];
    assert.equal(recoveryMs(history, 100), 50);
  });

  it('counts a request that was never answered', () => {
    assert.equal(recoveryMs([at(0, 110, 0), at(0, 300, undefined), at(0, 310, 0)], 100), 210);
  });

  it('is undefined while one of them has not succeeded since, or nobody has asked', () => {
    assert.equal(recoveryMs([at(0, 110, 0), at(1, 120, 6)], 100), undefined);
    assert.equal(recoveryMs([at(0, 110, 0), at(0, 120, undefined)], 100), undefined);
    assert.equal(recoveryMs([at(0, 90, 0)], 100), undefined);
    assert.equal(recoveryMs([], 100), undefined);
  });

  it('follows an application over several streams', () => {
    const lost = { ...at(0, 110, 3), ksid: 'old' };
    assert.equal(recoveryMs([lost, { ...at(0, 150, 0), ksid: 'new' }], 100), 50);
  });
});
