import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { ETSI004_MESSAGE } from '#common/etsi/etsi004-binary-codec.ts';
import { MetadataTooSmallError } from '../../delivery/key-delivery.ts';
import { closeAnswer, errorAnswer, keyAnswer, openAnswer } from './answers.ts';

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
const { OPEN_CONNECT_REQUEST, GET_KEY_REQUEST, CLOSE_REQUEST } = ETSI004_MESSAGE;
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const digestOf = (frame: Buffer) => hash('sha256', frame, 'hex').slice(0, 16);

describe('answers of the binary protocol are those of the reference, byte for byte', () => {
  it('OPEN_CONNECT', () => {
    const answer = openAnswer({ ksid: KSID, qos: QOS, isAdjusted: false });
    const expected = Buffer.concat([
      hex(`01000103 00000130 00000000
           00000020 00009c40 00001388 0000000a 00000000 00001388 00000e10
           6170706c69636174696f6e2f6a736f6e`),
      Buffer.alloc(240),
      hex('00112233445546778899aabbccddeeff'),
    ]);
    assert.deepEqual(answer, expected);
    assert.equal(digestOf(answer), '4988ce8b7e497fa1');
    const adjusted = openAnswer({ ksid: KSID, qos: QOS, isAdjusted: true });
    assert.deepEqual([adjusted.length, adjusted.readUInt32BE(8)], [312, 7]);
    assert.deepEqual(adjusted.subarray(12), expected.subarray(12));
  });

  it('GET_KEY', () => {
    const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
    const answer = keyAnswer({ index: 0, key: new Secret(key), metadata: '{"age": 0, "hops": 0}' });
    assert.deepEqual(
      answer,
      hex(`01000105 00000045 00000000 00000000 00000020
           000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
           00000015 7b22616765223a20302c2022686f7073223a20307d`),
    );
    assert.equal(digestOf(answer), '28fca28965166f61');
    const bare = keyAnswer({ index: 0x01020304, key: new Secret(Buffer.from([9])), metadata: '' });
    assert.deepEqual(bare, hex('01000105 00000011 00000000 01020304 00000001 09 00000000'));
  });

  it('metadata room that is too small', () => {
    const answer = errorAnswer(GET_KEY_REQUEST, new MetadataTooSmallError(35, 4));
    assert.deepEqual(answer, hex('01000105 00000008 00000008 00000023'));
    assert.equal(digestOf(answer), 'e433628fdb645d44');
  });

  it('CLOSE', () => {
    assert.deepEqual(closeAnswer(), hex('01000109 00000004 00000000'));
    assert.equal(digestOf(closeAnswer()), 'bf354937b763f609');
  });

  it('failures, with a status alone; 7 is left to streams that are open', () => {
    const statuses: [number, ErrorReason, string][] = [
      [OPEN_CONNECT_REQUEST, 'NO_ROUTE', '01000103 00000004 00000004'],
      [OPEN_CONNECT_REQUEST, 'KSID_IN_USE', '01000103 00000004 00000005'],
      [OPEN_CONNECT_REQUEST, 'UNSUPPORTED', '01000103 00000004 00000004'],
      [OPEN_CONNECT_REQUEST, 'PEER_UNREACHABLE', '01000103 00000004 00000001'],
      [GET_KEY_REQUEST, 'TIMEOUT', '01000105 00000004 00000006'],
      [GET_KEY_REQUEST, 'INSUFFICIENT_KEY', '01000105 00000004 00000002'],
      [CLOSE_REQUEST, 'UNKNOWN_STREAM', '01000109 00000004 00000003'],
    ];
    for (const [type, reason, expected] of statuses)
      assert.deepEqual(errorAnswer(type, new KeyweaveError(reason, 'words')), hex(expected), reason);
  });
});
