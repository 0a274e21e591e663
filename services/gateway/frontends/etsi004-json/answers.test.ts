import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { QOS } from '#test/helpers/streams.ts';
import { closeAnswer, errorAnswer, keyAnswer, openAnswer } from './answers.ts';

const delivered = (key: Buffer, metadata = '') => ({ index: 7, key: new Secret(key), metadata });
const read = (answer: Buffer) => JSON.parse(answer.toString('utf8'));

describe('the answers of the JSON dialect', () => {
  it('write every byte of a key as a number', () => {
    const key = Buffer.from(Uint8Array.from({ length: 256 }, (_, i) => i));
    assert.deepEqual(read(keyAnswer(delivered(key))), { status: 0, key_buffer: [...key], index: 7 });
  });

  it('carry metadata with its size, in a shape that readers of the reference know byte by byte', () => {
    const answer = keyAnswer(delivered(Buffer.from([0, 10, 255]), '{"age":1}'));
    assert.equal(
      answer.toString('utf8'),
      '{"status":0,"key_buffer":[0,10,255],"index":7,"metadata":{"size":9,"buffer":"{\\"age\\":1}"}}',
    );
  });

  it('say what was met of the QoS, and only where it is less than asked that it is', () => {
    const qos = {
      ...{ key_chunk_size: 32, max_bps: 1, min_bps: 2, jitter: 3, priority: 4, timeout: 10_000, ttl: 5 },
      metadata_mimetype: 'application/json',
    };
    const met = { ...QOS, maxBps: 1, minBps: 2, jitter: 3, priority: 4, ttlS: 5 };
    const opened = { ksid: 'id', qos: met, adjusted: undefined };
    assert.deepEqual(read(openAnswer(opened)), { status: 0, key_stream_id: 'id', qos });
    assert.deepEqual(read(openAnswer({ ...opened, adjusted: 'ttl is 5' })), {
      ...{ status: 7, key_stream_id: 'id', qos, message: 'ttl is 5' },
    });
  });

  it('give a status and words for a failure, and a bare status for CLOSE', () => {
    assert.deepEqual(read(errorAnswer({ reason: 'TIMEOUT', detail: 'late' })), {
      status: 6,
      message: 'late',
    });
    assert.deepEqual(read(closeAnswer()), { status: 0 });
  });
});
