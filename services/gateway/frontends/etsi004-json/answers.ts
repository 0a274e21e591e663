import { ETSI004_STATUS, STATUS_TABLE } from '#common/errors/status-table.ts';
import { jsonQos } from '#common/etsi/etsi004-json-codec.ts';
import type { Delivered, Opened } from '../../delivery/key-delivery.ts';
import type { Fault } from '../fault.ts';

const ZERO = 0x30;
const COMMA = 0x2c;
const KEY_PREFIX = Buffer.from('{"status":0,"key_buffer":[', 'latin1');

/** Answer to OPEN_CONNECT: the reference's members, and the QoS that was met. */
export function openAnswer(opened: Opened): Buffer {
  const adjusted = opened.adjusted !== undefined;
  return Buffer.from(
    JSON.stringify({
      status: adjusted ? ETSI004_STATUS.QOS_NOT_MET : ETSI004_STATUS.SUCCESS,
      key_stream_id: opened.ksid,
      qos: jsonQos(opened.qos),
      ...(adjusted ? { message: opened.adjusted } : {}),
    }),
  );
}

/**
 * Answer to GET_KEY. Written as bytes, so that the key never becomes a string;
 * whoever sends it wipes it.
 */
export function keyAnswer({ index, key: secret, metadata }: Delivered): Buffer {
  const meta =
    metadata === '' ? '' : `,"metadata":{"size":${metadata.length},"buffer":${JSON.stringify(metadata)}}`;
  const tail = `],"index":${index}${meta}}`;
  const key = secret.expose();
  const answer = Buffer.allocUnsafe(KEY_PREFIX.length + key.length * 4 + tail.length);
  answer.set(KEY_PREFIX);
  // The comma behind the last number gives way to the bracket.
  const at = writeDecimals(answer, KEY_PREFIX.length, key) - 1;
  return answer.subarray(0, at + answer.write(tail, at, 'latin1'));
}

/** Writes each byte as decimal digits and a comma; returns where it ends. */
function writeDecimals(into: Buffer, start: number, bytes: Buffer): number {
  let at = start;
  for (let i = 0; i < bytes.length; i++) {
    const value = bytes[i] as number;
    if (value >= 100) into[at++] = ZERO + Math.trunc(value / 100);
    if (value >= 10) into[at++] = ZERO + (Math.trunc(value / 10) % 10);
    into[at++] = ZERO + (value % 10);
    into[at++] = COMMA;
  }
  return at;
}

export function closeAnswer(): Buffer {
  return Buffer.from('{"status":0}');
}

/** Any failure: an integer status and a message that names the fault. */
export function errorAnswer(fault: Fault): Buffer {
  return Buffer.from(JSON.stringify({ status: STATUS_TABLE[fault.reason].etsi004, message: fault.detail }));
}
