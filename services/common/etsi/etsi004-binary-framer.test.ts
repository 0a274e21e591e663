import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { headed, writeClose, writeGetKey, writeOpenConnect } from './etsi004-binary-codec.ts';
import { type BinaryFrame, BinaryFramer } from './etsi004-binary-framer.ts';

const KSID = '00112233-4455-4677-8899-aabbccddeeff';
const MAX_BYTES = 16_384;
const QOS = {
  ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 1, ttlS: 1 },
  metadataMimetype: '',
};
const MESSAGES = [
  writeOpenConnect({ source: 'client://a', destination: 'server://b', qos: QOS, ksid: undefined }),
  writeGetKey({ ksid: KSID, index: 7, metadataRoom: 46 }),
  headed(0x06, Buffer.alloc(8 + 5)),
  headed(0x04, Buffer.alloc(8 + 23)),
  headed(0x08, Buffer.alloc(8)),
  writeClose(KSID),
];

/** What a framer gives of segments, payloads copied since they are lent. */
function framed(segments: readonly Buffer[], framer = new BinaryFramer({ maxBytes: MAX_BYTES })) {
  const frames: BinaryFrame[] = [];
  for (const segment of segments) {
    for (let from = 0; ; from = framer.end) {
      const frame = framer.next(segment, from);
      if (!frame) break;
      frames.push('payload' in frame ? { ...frame, payload: Buffer.from(frame.payload) } : frame);
    }
  }
  return frames;
}

const EXPECTED: BinaryFrame[] = [
  { type: 2, payload: (MESSAGES[0] as Buffer).subarray(8) },
  { type: 4, payload: (MESSAGES[1] as Buffer).subarray(8) },
  { type: 6, error: 'unknown-type', bytes: 5 },
  { type: 4, error: 'wrong-length', bytes: 23 },
  { type: 8, error: 'wrong-length', bytes: 0 },
  { type: 8, payload: (MESSAGES[5] as Buffer).subarray(8) },
];

describe('BinaryFramer', () => {
  it('finds the same messages however the bytes are cut', () => {
    const all = Buffer.concat(MESSAGES);
    assert.deepEqual(framed([all]), EXPECTED);
    assert.deepEqual(framed([...all].map((byte) => Buffer.from([byte]))), EXPECTED);
    for (let cut = 1; cut < all.length; cut += 3)
      assert.deepEqual(framed([all.subarray(0, cut), all.subarray(cut)]), EXPECTED, `cut at ${cut}`);
  });

  it('refuses a payload that is too long by its header alone, and gives nothing more', () => {
    const header = headed(0x02, Buffer.alloc(8));
    header.writeUInt32BE(MAX_BYTES + 1, 4);
    const framer = new BinaryFramer({ maxBytes: MAX_BYTES });
    assert.deepEqual(framed([header], framer), [{ type: 2, error: 'too-large', bytes: MAX_BYTES + 1 }]);
    assert.deepEqual(framed(MESSAGES, framer), []);
  });

  it('counts off what it does not read, and holds nothing of it', () => {
    const framer = new BinaryFramer({ maxBytes: MAX_BYTES });
    const header = headed(-1, Buffer.alloc(8));
    header.writeUInt32BE(MAX_BYTES, 4);
    assert.deepEqual(framed([header, Buffer.alloc(MAX_BYTES - 1)], framer), []);
    assert.equal(framer.pending, 8 + MAX_BYTES - 1);
    assert.deepEqual(framed([Buffer.alloc(1)], framer), [
      { type: -1, error: 'unknown-type', bytes: MAX_BYTES },
    ]);
    assert.equal(framer.pending, 0);
  });

  it('knows how much of a message has come', () => {
    const framer = new BinaryFramer({ maxBytes: MAX_BYTES });
    const message = MESSAGES[1] as Buffer;
    const pending = [3, 8, 20, 32].map((to, i, all) => {
      framed([message.subarray(all[i - 1] ?? 0, to)], framer);
      return framer.pending;
    });
    assert.deepEqual(pending, [3, 8, 20, 0]);
  });

  it('wipes a payload that it has held, once the next is asked for or nothing more is', () => {
    for (const end of ['next', 'stop'] as const) {
      const framer = new BinaryFramer({ maxBytes: MAX_BYTES });
      const message = MESSAGES[1] as Buffer;
      framer.next(message.subarray(0, 20), 0);
      const frame = framer.next(message.subarray(20), 0) as { payload: Buffer };
      assert.deepEqual(frame.payload, message.subarray(8));
      if (end === 'next') framer.next(Buffer.alloc(0), 0);
      else framer.stop();
      assert.deepEqual(frame.payload, Buffer.alloc(24));
    }
  });
});
