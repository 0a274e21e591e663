import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { jsonPlaces } from '#common/json/json-places.ts';

const TEXT = `{
  "a": { "b": "}, \\"x\\": {",
    "c": [1,
      { "d": true },
      "]"]
  },
  "\\u0065": null
}`;

describe('jsonPlaces', () => {
  it('knows the line of every key and list entry', () => {
    const { lineOf, duplicates } = jsonPlaces(TEXT);
    assert.deepEqual(
      [
        ['a'],
        ['a', 'b'],
        ['a', 'c'],
        ['a', 'c', 0],
        ['a', 'c', 1],
        ['a', 'c', 1, 'd'],
        ['a', 'c', 2],
        ['e'],
      ].map(lineOf),
      [2, 2, 3, 3, 4, 4, 5, 7],
    );
    assert.deepEqual(duplicates, []);
  });

  it('gives the nearest thing around what is not there', () => {
    const { lineOf } = jsonPlaces(TEXT);
    assert.deepEqual(
      [lineOf(['a', 'x']), lineOf(['a', 'c', 9, 'y']), lineOf(['x']), lineOf([])],
      [2, 3, 1, 1],
    );
    assert.equal(jsonPlaces('[]').lineOf([0]), 1);
  });

  it('finds keys that stand twice, however they are written, and takes no names of other objects for them', () => {
    const text = '{"a":{"b":1,\n"c":{"b":2},\n"\\u0062":3},\n"b":[{"b":1},{"b":2}],\n"b":4,"b":5}';
    assert.deepEqual(jsonPlaces(text).duplicates, [
      { path: ['a', 'b'], lines: [1, 3] },
      { path: ['b'], lines: [4, 5, 5] },
    ]);
    assert.deepEqual(jsonPlaces('{"__proto__":1,"constructor":2}').duplicates, []);
  });

  it('is done with what lies very deep', () => {
    const deep = `${'{"a":['.repeat(50_000)}1${']}'.repeat(50_000)}`;
    assert.equal(jsonPlaces(deep).lineOf(['a', 0]), 1);
  });
});
