import { ownCopy } from '#common/crypto/bytes.ts';
import { ETSI004_MESSAGE, QOS_BYTES, readClose, readQos } from '#common/etsi/etsi004-binary-codec.ts';
import type { QualityOfService } from '../quality-of-service.ts';
import type { BinaryAnswer } from './binary-connection.ts';

/** An answer that is none to its request, or whose parts do not add up. */
export class BadBinaryAnswer extends Error {}

export interface BinaryOpened {
  readonly status: number;
  /** Of status 0 and 7. */
  readonly opened?: { readonly qos: QualityOfService; readonly ksid: string };
}

export interface BinaryKey {
  readonly status: number;
  /** Of status 0; the key is the caller's, who wipes it. */
  readonly delivered?: { readonly index: number; readonly key: Buffer; readonly metadata: string };
  /** Of status 8: bytes of the metadata. */
  readonly neededBytes?: number;
}

const STATUS_BYTES = 4;
const KSID_BYTES = 16;
const METADATA_TOO_SMALL = 8;
const UTF8 = new TextDecoder('utf-8');

/** Reads the answer to OPEN_CONNECT. @throws BadBinaryAnswer, KeyweaveError */
export function readOpened(answer: BinaryAnswer): BinaryOpened {
  const payload = payloadOf(answer, ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE);
  const status = payload.readUInt32BE(0);
  if (payload.length === STATUS_BYTES) return { status };
  assertBytes(payload, STATUS_BYTES + QOS_BYTES + KSID_BYTES);
  const ksid = readClose(payload.subarray(STATUS_BYTES + QOS_BYTES));
  return { status, opened: { qos: readQos(payload, STATUS_BYTES), ksid } };
}

/** Reads the answer to GET_KEY, whose payload the caller wipes. @throws BadBinaryAnswer */
export function readKey(answer: BinaryAnswer): BinaryKey {
  const payload = payloadOf(answer, ETSI004_MESSAGE.GET_KEY_RESPONSE);
  const status = payload.readUInt32BE(0);
  if (status === METADATA_TOO_SMALL && payload.length === 8)
    return { status, neededBytes: payload.readUInt32BE(4) };
  if (status !== 0) {
    assertBytes(payload, STATUS_BYTES);
    return { status };
  }
  if (payload.length < 16) throw new BadBinaryAnswer('the answer is too short');
  const keyBytes = payload.readUInt32BE(8);
  if (keyBytes > payload.length - 16) throw new BadBinaryAnswer('the answer is shorter than its key');
  const metadataBytes = payload.readUInt32BE(12 + keyBytes);
  assertBytes(payload, 16 + keyBytes + metadataBytes);
  const metadata = UTF8.decode(payload.subarray(16 + keyBytes));
  const key = ownCopy(payload.subarray(12, 12 + keyBytes));
  return { status, delivered: { index: payload.readUInt32BE(4), key, metadata } };
}

/** Reads the answer to CLOSE: its status. @throws BadBinaryAnswer */
export function readClosed(answer: BinaryAnswer): number {
  const payload = payloadOf(answer, ETSI004_MESSAGE.CLOSE_RESPONSE);
  assertBytes(payload, STATUS_BYTES);
  return payload.readUInt32BE(0);
}

function payloadOf({ type, payload }: BinaryAnswer, expected: number): Buffer {
  if (type !== expected) throw new BadBinaryAnswer(`a message of type ${type} came, not ${expected}`);
  if (payload.length < STATUS_BYTES) throw new BadBinaryAnswer('the answer is too short');
  return payload;
}

function assertBytes(payload: Buffer, bytes: number): void {
  if (payload.length !== bytes)
    throw new BadBinaryAnswer(`the answer has ${payload.length} bytes, not ${bytes}`);
}
