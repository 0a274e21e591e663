import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { HASHES, type HashName, hkdf, hkdfExpand, hkdfExtract, hmac } from './hmac-hkdf.ts';

const hex = (text: string) => Buffer.from(text, 'hex');

describe('HMAC and HKDF', () => {
  it('HMAC-SHA-256 gives RFC 4231 case 2', () => {
    const mac = hmac(
      'sha256',
      Buffer.from('Jefe'),
      Buffer.from('what do ya want '),
      Buffer.from('for nothing?'),
    );
    assert.equal(mac.toString('hex'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843');
  });

  it('HKDF-SHA-256 gives RFC 5869 A.1', () => {
    const prk = hkdfExtract('sha256', hex('000102030405060708090a0b0c'), Buffer.alloc(22, 0x0b));
    const out = Buffer.alloc(42);
    hkdfExpand('sha256', prk, [hex('f0f1f2f3f4'), hex('f5f6f7f8f9')], out);
    assert.equal(
      out.toString('hex'),
      '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    );
  });

  it('HKDF-SHA-256 gives RFC 5869 A.3, without salt and info', () => {
    const prk = hkdfExtract('sha256', Buffer.alloc(32), Buffer.alloc(22, 0x0b));
    const out = Buffer.alloc(42);
    hkdfExpand('sha256', prk, [], out);
    assert.equal(
      out.toString('hex'),
      '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    );
  });

  it('refuses more than 255 blocks', () => {
    assert.throws(() => hkdfExpand('sha256', Buffer.alloc(32), [], Buffer.alloc(255 * 32 + 1)), RangeError);
  });
});

describe('HKDF as the methods call it', () => {
  for (const hash of Object.keys(HASHES) as HashName[]) {
    it(`${hash}: gives the same of info that node:crypto takes and of longer, and of parts as of the whole`, () => {
      for (const infoBytes of [0, 1, 600, 1023, 1024, 1025, 5_000]) {
        const [salt, info] = [randomBytes(25), randomBytes(infoBytes)];
        const secrets = [randomBytes(32), randomBytes(64)];
        for (const length of [1, 32, 33, 300]) {
          const [expected, out] = [Buffer.alloc(length), Buffer.alloc(length, 0xff)];
          hkdfExpand(hash, hkdfExtract(hash, salt, ...secrets), [info], expected);
          hkdf(hash, salt, secrets, [info.subarray(0, 7), info.subarray(7)], out);
          assert.deepEqual(out, expected, `info of ${infoBytes} bytes, ${length} out`);
        }
      }
    });

    it(`${hash}: refuses more than 255 blocks, and still works then`, () => {
      const out = Buffer.alloc(255 * HASHES[hash].bytes + 1);
      for (const infoBytes of [10, 2_000])
        assert.throws(() => hkdf(hash, out, [out], [Buffer.alloc(infoBytes)], out), RangeError);
      hkdf(hash, out, [out], [], out.subarray(0, 32));
    });
  }
});

describe('HMAC against the one of the run time', () => {
  for (const hash of ['sha256', 'sha384', 'sha3-256'] as const) {
    it(`${hash}: every length of key around the block, and messages longer than the scratch`, () => {
      for (const keyBytes of [0, 1, 32, 63, 64, 65, 127, 128, 129, 135, 136, 137, 300]) {
        const [key, message] = [randomBytes(keyBytes), randomBytes(keyBytes * 40)];
        const expected = createHmac(hash, key).update(message).digest();
        assert.deepEqual(hmac(hash, key, message.subarray(0, 7), message.subarray(7)), expected);
      }
    });
  }
});
