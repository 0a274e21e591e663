import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { kmac256 } from './kmac.ts';

const counting = (from: number, bytes: number) =>
  Buffer.from(Array.from({ length: bytes }, (_, i) => from + i));
const KEY = counting(0x40, 32);
const TAGGED = Buffer.from('My Tagged Application');

/** NIST's examples for SP 800-185, "KMAC_samples": those of KMAC256. */
const SAMPLES: [name: string, data: Buffer, customization: Buffer, expected: string][] = [
  [
    'sample 4',
    counting(0, 4),
    TAGGED,
    '20c570c31346f703c9ac36c61c03cb64c3970d0cfc787e9b79599d273a68d2f7f69d4cc3de9d104a351689f27cf6f5951f0103f33f4f24871024d9c27773a8dd',
  ],
  [
    'sample 5',
    counting(0, 200),
    Buffer.alloc(0),
    '75358cf39e41494e949707927cee0af20a3ff553904c86b08f21cc414bcfd691589d27cf5e15369cbbff8b9a4c2eb17800855d0235ff635da82533ec6b759b69',
  ],
  [
    'sample 6',
    counting(0, 200),
    TAGGED,
    'b58618f71f92e1d56c1b8c55ddd7cd188b97b4ca4d99831eb2699a837da2e4d970fbacfde50033aea585f1a2708510c32d07880801bd182898fe476876fc8965',
  ],
];

describe('KMAC256 (NIST SP 800-185 clause 4)', () => {
  for (const [name, data, customization, expected] of SAMPLES) {
    it(`gives NIST's ${name}, of the whole and of parts`, () => {
      for (const parts of [[data], [data.subarray(0, 1), data.subarray(1), Buffer.alloc(0)]]) {
        const out = Buffer.alloc(64, 0xaa);
        kmac256(KEY, customization, parts, out);
        assert.equal(out.toString('hex'), expected);
      }
    });
  }

  it('binds the length: a short one is not the beginning of a long one', () => {
    const [short, long] = [Buffer.alloc(32), Buffer.alloc(64)];
    for (const out of [short, long]) kmac256(KEY, TAGGED, [Buffer.from('data')], out);
    assert.notDeepEqual(short, long.subarray(0, 32));
  });
});
