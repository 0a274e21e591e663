import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  DerReader,
  derInteger,
  derObjectId,
  derOf,
  derTime,
  objectIdText,
  TAG,
  timeMs,
} from '#common/tls/x509/der.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const only = (bytes: Buffer) => {
  const reader = new DerReader(bytes);
  const element = reader.any();
  reader.end();
  return element;
};

describe('elements of DER', () => {
  for (const length of [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000]) {
    it(`of ${length} bytes are read as they are written`, () => {
      const content = Buffer.alloc(length, 7);
      const written = derOf(TAG.octetString, content);
      const { tag, content: read, whole } = only(written);
      assert.deepEqual([tag, read.equals(content), whole.equals(written)], [TAG.octetString, true, true]);
      assert.throws(() => only(written.subarray(0, -1)), RangeError);
    });
  }

  for (const [what, bytes] of [
    ['nothing', ''],
    ['a tag alone', '04'],
    ['a length of no certain end', '0480 0000'],
    ['a length in a longer form than it needs', '04817f'],
    ['a length with zeros in front', '0482007f'],
    ['a length of five bytes', '04850000000000'],
    ['a tag of several bytes', '1f8101 00'],
    ['less than its length says', '0405 01020304'],
  ] as const)
    it(`are not ${what}`, () => assert.throws(() => only(hex(bytes)), RangeError));

  it('come in the order that is asked for, or not at all', () => {
    const reader = new DerReader(hex('020105 0500'));
    assert.equal(reader.optional(TAG.sequence), undefined);
    assert.throws(() => reader.next(TAG.sequence), /tag 48 expected, 2 found/);
    assert.deepEqual(reader.next(TAG.integer).content, hex('05'));
    assert.throws(() => reader.end(), /something follows/);
    assert.equal(reader.next(TAG.null).content.length, 0);
    assert.ok(reader.done);
    assert.throws(() => reader.next(TAG.null), /the end found/);
  });
});

describe('numbers', () => {
  for (const [text, bytes] of [
    ['0', '020100'],
    ['7f', '02017f'],
    ['80', '02020080'],
    ['0001', '020101'],
    ['100', '02020100'],
    ['FF01', '020300ff01'],
  ] as const)
    it(`${text} in hex are positive, in the fewest bytes`, () =>
      assert.deepEqual(derInteger(text), hex(bytes)));
});

describe('object identifiers', () => {
  for (const [text, bytes] of [
    ['2.5.29.20', '0603551d14'],
    ['1.2.840.10045.4.3.2', '06082a8648ce3d040302'],
    ['1.2.840.113549.1.1.11', '06092a864886f70d01010b'],
    ['0.9.2342', '0603099226'],
  ] as const) {
    it(`${text} are written and read`, () => {
      assert.deepEqual(derObjectId(text), hex(bytes));
      assert.equal(objectIdText(only(hex(bytes)).content), text);
    });
  }
});

describe('dates', () => {
  for (const [date, text] of [
    [Date.UTC(1999, 11, 31, 23, 59, 59), '991231235959Z'],
    [Date.UTC(2049, 11, 31, 23, 59, 59), '491231235959Z'],
    [Date.UTC(2050, 0, 1), '20500101000000Z'],
    [Date.UTC(1950, 0, 1), '500101000000Z'],
    [Date.UTC(1949, 11, 31), '19491231000000Z'],
  ] as const) {
    it(`${text} are written and read`, () => {
      const tag = text.length === 13 ? TAG.utcTime : TAG.generalizedTime;
      assert.deepEqual(derTime(date), derOf(tag, Buffer.from(text)));
      assert.equal(timeMs(only(derTime(date))), date);
    });
  }

  for (const [tag, text] of [
    [TAG.utcTime, '9912312359Z'],
    [TAG.utcTime, '991231235959+0100'],
    [TAG.utcTime, '20500101000000Z'],
    [TAG.generalizedTime, '991231235959Z'],
    [TAG.generalizedTime, '20501301000000Z'],
    [TAG.octetString, '991231235959Z'],
    [TAG.utcTime, ''],
  ] as const)
    it(`are not ${text || 'nothing'} with tag ${tag}`, () =>
      assert.throws(() => timeMs(only(derOf(tag, Buffer.from(text)))), RangeError));
});
