import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { HASHES, type HashName, hkdf, hkdfExpand, hkdfExtract, hmac } from './hmac-hkdf.ts';

const hex = (text: string) => Buffer.from(text, 'hex');

const LONG_KEY = Buffer.alloc(131, 0xaa);

/** RFC 4231 clause 4; case 5 is about a truncation that nobody here makes. */
const RFC_4231: [name: string, key: Buffer, data: Buffer, sha256: string, sha384: string][] = [
  [
    '1',
    Buffer.alloc(20, 0x0b),
    Buffer.from('Hi There'),
    'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
    'afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6',
  ],
  [
    '2',
    Buffer.from('Jefe'),
    Buffer.from('what do ya want for nothing?'),
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    'af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649',
  ],
  [
    '3',
    Buffer.alloc(20, 0xaa),
    Buffer.alloc(50, 0xdd),
    '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe',
    '88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27',
  ],
  [
    '4',
    hex('0102030405060708090a0b0c0d0e0f10111213141516171819'),
    Buffer.alloc(50, 0xcd),
    '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b',
    '3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb',
  ],
  [
    '6',
    LONG_KEY,
    Buffer.from('Test Using Larger Than Block-Size Key - Hash Key First'),
    '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    '4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952',
  ],
  [
    '7',
    LONG_KEY,
    Buffer.from(
      'This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.',
    ),
    '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2',
    '6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e',
  ],
];

describe('HMAC and HKDF', () => {
  for (const [name, key, data, sha256, sha384] of RFC_4231) {
    it(`HMAC with SHA-256 and SHA-384 gives RFC 4231 case ${name}, of the whole and of parts`, () => {
      for (const parts of [[data], [data.subarray(0, 3), data.subarray(3)]]) {
        assert.equal(hmac('sha256', key, ...parts).toString('hex'), sha256);
        assert.equal(hmac('sha384', key, ...parts).toString('hex'), sha384);
      }
    });
  }

  it('HKDF-SHA-256 gives RFC 5869 A.1', () => {
    const prk = hkdfExtract('sha256', hex('000102030405060708090a0b0c'), Buffer.alloc(22, 0x0b));
    const out = Buffer.alloc(42);
    hkdfExpand('sha256', prk, [hex('f0f1f2f3f4'), hex('f5f6f7f8f9')], out);
    assert.equal(
      out.toString('hex'),
      '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    );
  });

  it('HKDF-SHA-256 gives RFC 5869 A.2, of long inputs', () => {
    const counting = (from: number) => Buffer.from(Array.from({ length: 80 }, (_, i) => from + i));
    const out = Buffer.alloc(82);
    hkdfExpand('sha256', hkdfExtract('sha256', counting(0x60), counting(0)), [counting(0xb0)], out);
    const expected =
      'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87';
    assert.equal(out.toString('hex'), expected);
    hkdf('sha256', counting(0x60), [counting(0)], [counting(0xb0)], out.fill(0));
    assert.equal(out.toString('hex'), expected);
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
