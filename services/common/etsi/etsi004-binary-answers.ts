import { ownCopy } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import {
  ETSI004_MESSAGE,
  HEADER_BYTES,
  headed,
  QOS_BYTES,
  readClose,
  readQos,
  writeKsid,
  writeQos,
} from '#common/etsi/etsi004-binary-codec.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';

const STATUS_BYTES = 4;
const KSID_BYTES = 16;
/** Status, index and the lengths of key and metadata. */
const KEY_FRAME_BYTES = 16;
const OPENED_BYTES = STATUS_BYTES + QOS_BYTES + KSID_BYTES;

/** Largest key, and most metadata, that a client takes, bytes. */
const MAX_KEY_BYTES = 65_536;
const MAX_METADATA_BYTES = 4_096;

/** Lengths that the payload of each answer may have, bytes: least and most. */
export const BINARY_ANSWER_LENGTHS: ReadonlyMap<number, readonly [number, number]> = new Map([
  [ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE, [STATUS_BYTES, OPENED_BYTES]],
  [ETSI004_MESSAGE.GET_KEY_RESPONSE, [STATUS_BYTES, KEY_FRAME_BYTES + MAX_KEY_BYTES + MAX_METADATA_BYTES]],
  [ETSI004_MESSAGE.CLOSE_RESPONSE, [STATUS_BYTES, STATUS_BYTES]],
]);

/** An answer of the binary protocol, of whichever call. */
export interface BinaryAnswer {
  readonly status: number;
  /** Of an OPEN_CONNECT with status 0 or 7. */
  readonly opened?: { readonly qos: Qos; readonly ksid: string };
  /** Of a GET_KEY with status 0; the key is the caller's, in memory of its own, to be wiped. */
  readonly delivered?: { readonly index: number; readonly key: Buffer };
}

/** Answer to OPEN_CONNECT: the stream is open, on the QoS in it; status 7 where that is not what was asked for. */
export function writeOpened(opened: { ksid: string; qos: Qos; isAdjusted: boolean }): Buffer {
  const answer = writeStatus(
    ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE,
    opened.isAdjusted ? ETSI004_STATUS.QOS_NOT_MET : ETSI004_STATUS.SUCCESS,
    QOS_BYTES + KSID_BYTES,
  );
  writeKsid(answer, writeQos(answer, HEADER_BYTES + STATUS_BYTES, opened.qos), opened.ksid);
  return answer;
}

/** Answer to GET_KEY, with metadata in ASCII; whoever sends it wipes it. */
export function writeDelivered(delivered: { index: number; key: Buffer; metadata: string }): Buffer {
  const { index, key, metadata } = delivered;
  // All of it is written below.
  const answer = Buffer.allocUnsafe(HEADER_BYTES + KEY_FRAME_BYTES + key.length + metadata.length);
  headed(ETSI004_MESSAGE.GET_KEY_RESPONSE, answer);
  answer.writeUInt32BE(ETSI004_STATUS.SUCCESS, HEADER_BYTES);
  let at = answer.writeUInt32BE(index, HEADER_BYTES + STATUS_BYTES);
  at = answer.writeUInt32BE(key.length, at);
  at += key.copy(answer, at);
  at = answer.writeUInt32BE(metadata.length, at);
  answer.write(metadata, at, 'latin1');
  return answer;
}

/** A message with its status and room for so many bytes more, which are zero. */
export function writeStatus(type: number, status: number, moreBytes = 0): Buffer {
  const answer = headed(type, Buffer.alloc(HEADER_BYTES + STATUS_BYTES + moreBytes));
  answer.writeUInt32BE(status, HEADER_BYTES);
  return answer;
}

/**
 * Reads the payload of an answer, of a length that BINARY_ANSWER_LENGTHS allows.
 *
 * @throws KeyweaveError BAD_REQUEST for one whose parts do not fill it.
 */
export function readBinaryAnswer(type: number, payload: Buffer): BinaryAnswer {
  const status = payload.readUInt32BE(0);
  if (type === ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE && payload.length === OPENED_BYTES) {
    if (status !== ETSI004_STATUS.SUCCESS && status !== ETSI004_STATUS.QOS_NOT_MET) return { status };
    const ksid = readClose(payload.subarray(STATUS_BYTES + QOS_BYTES));
    return { status, opened: { qos: readQos(payload, STATUS_BYTES), ksid } };
  }
  if (type === ETSI004_MESSAGE.GET_KEY_RESPONSE && status === ETSI004_STATUS.SUCCESS) {
    return { status, delivered: readDelivered(payload) };
  }
  if (status === ETSI004_STATUS.SUCCESS && type !== ETSI004_MESSAGE.CLOSE_RESPONSE) {
    throw new KeyweaveError('BAD_REQUEST', 'the answer to OPEN_CONNECT lacks QoS and Key_stream_ID');
  }
  return { status };
}

function readDelivered(payload: Buffer): { index: number; key: Buffer } {
  const keyAt = STATUS_BYTES + 8;
  const keyBytes = payload.length < KEY_FRAME_BYTES ? 0 : payload.readUInt32BE(STATUS_BYTES + 4);
  const end = keyAt + keyBytes;
  const fits = keyBytes > 0 && end + 4 <= payload.length;
  if (!fits || end + 4 + payload.readUInt32BE(end) !== payload.length) {
    throw new KeyweaveError('BAD_REQUEST', 'the answer to GET_KEY is not filled by its key and metadata');
  }
  return { index: payload.readUInt32BE(STATUS_BYTES), key: ownCopy(payload.subarray(keyAt, end)) };
}
