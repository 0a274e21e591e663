import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import {
  HEADER_BYTES,
  MAX_OPEN_BYTES,
  MIN_OPEN_BYTES,
  readClose,
  readGetKey,
  readOpenConnect,
  writeClose,
  writeGetKey,
  writeOpenConnect,
} from './etsi004-binary-codec.ts';

const KSID = '00112233-4455-4677-8899-aabbccddeeff';
const QOS = {
  keyChunkSize: 32,
  maxBps: 40_000,
  minBps: 5_000,
  jitter: 10,
  priority: 0,
  timeoutMs: 5_000,
  ttlS: 3_600,
  metadataMimetype: 'application/json',
};
const OPEN = {
  source: 'client://localhost',
  destination: 'server://qkd_server_alice',
  qos: QOS,
  ksid: undefined,
};

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const digestOf = (frame: Buffer) => hash('sha256', frame, 'hex').slice(0, 16);

/** Frames that the reference's own client makes (QUBIP/etsi-qkd-004), and the beginnings of their SHA-256. */
const OPEN_FRAME = Buffer.concat([
  hex(`01000102 00000159
       636c69656e743a2f2f6c6f63616c686f7374 00
       7365727665723a2f2f716b645f7365727665725f616c696365 00
       00000020 00009c40 00001388 0000000a 00000000 00001388 00000e10
       6170706c69636174696f6e2f6a736f6e`),
  Buffer.alloc(240 + 16),
]);
const GET_KEY_FRAME = hex('01000104 00000018 00112233445546778899aabbccddeeff 00000000 00000400');
const CLOSE_FRAME = hex('01000108 00000010 00112233445546778899aabbccddeeff');

describe('requests of the binary protocol', () => {
  it('are those of the reference, byte for byte', () => {
    assert.deepEqual(writeOpenConnect(OPEN), OPEN_FRAME);
    assert.deepEqual(writeGetKey({ ksid: KSID, index: 0, metadataRoom: 1_024 }), GET_KEY_FRAME);
    assert.deepEqual(writeClose(KSID), CLOSE_FRAME);
    assert.equal(OPEN_FRAME.length, 353);
    assert.deepEqual([OPEN_FRAME, GET_KEY_FRAME, CLOSE_FRAME].map(digestOf), [
      '380f73ab60a1604e',
      '65ac74a96aedbbea',
      'ee36fc4cb50dc02f',
    ]);
  });

  it('are read as they were written', () => {
    assert.deepEqual(readOpenConnect(OPEN_FRAME.subarray(HEADER_BYTES)), OPEN);
    const full = { ...OPEN, source: 'hybrid://ä@node', ksid: KSID, qos: { ...QOS, metadataMimetype: '' } };
    assert.deepEqual(readOpenConnect(writeOpenConnect(full).subarray(HEADER_BYTES)), full);
    assert.deepEqual(readGetKey(GET_KEY_FRAME.subarray(HEADER_BYTES)), {
      ksid: KSID,
      index: 0,
      metadataRoom: 1_024,
    });
    assert.equal(readClose(CLOSE_FRAME.subarray(HEADER_BYTES)), KSID);
  });

  it('name what is wrong with an OPEN_CONNECT', () => {
    const payload = OPEN_FRAME.subarray(HEADER_BYTES);
    const changed = (at: number, byte: number) => {
      const copy = Buffer.from(payload);
      copy[at] = byte;
      return copy;
    };
    const wrong: [Buffer, RegExp][] = [
      // Without the zero behind the source; with one in it; a tail that is too short.
      [changed(18, 0x61), /two URIs, each with a zero byte/],
      [changed(3, 0), /two URIs/],
      [payload.subarray(0, -1), /two URIs/],
      [Buffer.alloc(MIN_OPEN_BYTES, 0x61), /two URIs/],
      [changed(0, 0xff), /source is not UTF-8/],
      [changed(20, 0xff), /destination is not UTF-8/],
      [changed(73, 0xff), /Metadata_mimetype is not UTF-8/],
    ];
    for (const [bytes, words] of wrong) {
      assert.throws(
        () => readOpenConnect(bytes),
        (error) => isReason(error, 'BAD_REQUEST') && words.test(String(error)),
      );
    }
  });

  it('have room for two URIs of 4096 bytes, a mimetype of 256, and none', () => {
    const long = { ...OPEN, source: 's'.repeat(4_096), destination: 'd'.repeat(4_096) };
    const mimetype = { ...QOS, metadataMimetype: 'm'.repeat(256) };
    const most = writeOpenConnect({ ...long, qos: mimetype }).subarray(HEADER_BYTES);
    assert.equal(most.length, MAX_OPEN_BYTES);
    assert.deepEqual(readOpenConnect(most), { ...long, qos: mimetype });
    const least = { ...OPEN, source: '', destination: '' };
    const bytes = writeOpenConnect(least).subarray(HEADER_BYTES);
    assert.equal(bytes.length, MIN_OPEN_BYTES);
    assert.deepEqual(readOpenConnect(bytes), least);
    assert.throws(
      () => writeOpenConnect({ ...OPEN, qos: { ...QOS, metadataMimetype: 'm'.repeat(257) } }),
      RangeError,
    );
  });
});
