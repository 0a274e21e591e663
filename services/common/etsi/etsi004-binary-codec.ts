import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { uuidText } from '#common/ids/uuid.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';

/**
 * The binary protocol of ETSI's reference implementation of GS QKD 004: a
 * header of 8 bytes (version 1.0.1, signed type, length of the payload as u32)
 * and a payload. All numbers are big-endian, KSIDs the bytes of the UUID in
 * text order.
 */
export const ETSI004_MESSAGE = {
  OPEN_CONNECT_REQUEST: 0x02,
  OPEN_CONNECT_RESPONSE: 0x03,
  GET_KEY_REQUEST: 0x04,
  GET_KEY_RESPONSE: 0x05,
  CLOSE_REQUEST: 0x08,
  CLOSE_RESPONSE: 0x09,
} as const;

export const HEADER_BYTES = 8;

const VERSION = [1, 0, 1] as const;

const KSID_BYTES = 16;
const MIMETYPE_BYTES = 256;
/** Seven numbers and the mimetype. */
export const QOS_BYTES = 28 + MIMETYPE_BYTES;

/** Longest URI of an OPEN_CONNECT, bytes. */
const MAX_URI_BYTES = 4_096;

/** Least and most bytes of an OPEN_CONNECT: two URIs, each with the zero behind it, QoS and KSID. */
export const MIN_OPEN_BYTES = 2 + QOS_BYTES + KSID_BYTES;
export const MAX_OPEN_BYTES = 2 * (MAX_URI_BYTES + 1) + QOS_BYTES + KSID_BYTES;

/** The index that asks for the next key, as no stream has so many. */
export const NEXT_INDEX = 0xffff_ffff;

const NIL = Buffer.alloc(KSID_BYTES);
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export interface OpenConnectMessage {
  readonly source: string;
  readonly destination: string;
  readonly qos: Qos;
  /** Text form; undefined for NULL, which is all zeros. */
  readonly ksid: string | undefined;
}

export interface GetKeyMessage {
  readonly ksid: string;
  readonly index: number;
  /** Bytes that the client has for metadata. */
  readonly metadataRoom: number;
}

/** Reads the payload of an OPEN_CONNECT. @throws KeyweaveError BAD_REQUEST naming the field. */
export function readOpenConnect(payload: Buffer): OpenConnectMessage {
  const end = payload.length - QOS_BYTES - KSID_BYTES;
  const sourceEnd = payload.indexOf(0);
  const destinationEnd = payload.indexOf(0, sourceEnd + 1);
  if (sourceEnd < 0 || destinationEnd !== end - 1) {
    throw bad('OPEN_CONNECT must hold two URIs, each with a zero byte behind it, then QoS and Key_stream_ID');
  }
  const ksid = payload.subarray(end + QOS_BYTES);
  return {
    source: readText('source', payload.subarray(0, sourceEnd)),
    destination: readText('destination', payload.subarray(sourceEnd + 1, destinationEnd)),
    qos: readQos(payload, end),
    ksid: ksid.equals(NIL) ? undefined : uuidText('Key_stream_ID', ksid),
  };
}

/** Reads the payload of a GET_KEY, of 24 bytes. */
export function readGetKey(payload: Buffer): GetKeyMessage {
  return {
    ksid: uuidText('Key_stream_ID', payload.subarray(0, KSID_BYTES)),
    index: payload.readUInt32BE(KSID_BYTES),
    metadataRoom: payload.readUInt32BE(KSID_BYTES + 4),
  };
}

/** Reads the payload of a CLOSE, of 16 bytes: a KSID in text form. */
export function readClose(payload: Buffer): string {
  return uuidText('Key_stream_ID', payload);
}

/** The request OPEN_CONNECT. @throws RangeError for a mimetype or URI that does not fit. */
export function writeOpenConnect({ source, destination, qos, ksid }: OpenConnectMessage): Buffer {
  const uris = Buffer.from(`${source}\0${destination}\0`, 'utf8');
  const message = headed(
    ETSI004_MESSAGE.OPEN_CONNECT_REQUEST,
    Buffer.alloc(HEADER_BYTES + uris.length + QOS_BYTES + KSID_BYTES),
  );
  uris.copy(message, HEADER_BYTES);
  const at = writeQos(message, HEADER_BYTES + uris.length, qos);
  writeKsid(message, at, ksid);
  return message;
}

/** The request GET_KEY. */
export function writeGetKey({ ksid, index, metadataRoom }: GetKeyMessage): Buffer {
  const message = headed(ETSI004_MESSAGE.GET_KEY_REQUEST, Buffer.alloc(HEADER_BYTES + KSID_BYTES + 8));
  const at = message.writeUInt32BE(index, writeKsid(message, HEADER_BYTES, ksid));
  message.writeUInt32BE(metadataRoom, at);
  return message;
}

/** The request CLOSE. */
export function writeClose(ksid: string): Buffer {
  const message = headed(ETSI004_MESSAGE.CLOSE_REQUEST, Buffer.alloc(HEADER_BYTES + KSID_BYTES));
  writeKsid(message, HEADER_BYTES, ksid);
  return message;
}

/** Writes the header over the first 8 bytes of a message, whose other bytes are the payload. */
export function headed(type: number, message: Buffer): Buffer {
  message[0] = VERSION[0];
  message[1] = VERSION[1];
  message[2] = VERSION[2];
  message.writeInt8(type, 3);
  message.writeUInt32BE(message.length - HEADER_BYTES, 4);
  return message;
}

/** QoS at `at`: seven numbers in the order of ETSI GS QKD 004 V2.1.1 Table 2, and the mimetype padded with zeros. */
export function readQos(payload: Buffer, at: number): Qos {
  const number = (i: number) => payload.readUInt32BE(at + 4 * i);
  const field = payload.subarray(at + 28, at + QOS_BYTES);
  const end = field.indexOf(0);
  return {
    keyChunkSize: number(0),
    maxBps: number(1),
    minBps: number(2),
    jitter: number(3),
    priority: number(4),
    timeoutMs: number(5),
    ttlS: number(6),
    metadataMimetype: readText('Metadata_mimetype', end < 0 ? field : field.subarray(0, end)),
  };
}

/** Writes QoS at `at`, where there are zeros; gives where it ends. */
export function writeQos(into: Buffer, at: number, qos: Qos): number {
  const { keyChunkSize, maxBps, minBps, jitter, priority, timeoutMs, ttlS, metadataMimetype } = qos;
  const numbers = [keyChunkSize, maxBps, minBps, jitter, priority, timeoutMs, ttlS];
  const mimetype = Buffer.from(metadataMimetype, 'utf8');
  if (mimetype.length > MIMETYPE_BYTES) {
    throw new RangeError(`Metadata_mimetype has ${MIMETYPE_BYTES} bytes at most`);
  }
  const end = numbers.reduce((to, value) => into.writeUInt32BE(value, to), at);
  mimetype.copy(into, end);
  return at + QOS_BYTES;
}

/** Writes a KSID at `at`, all zeros for none; gives where it ends. */
export function writeKsid(into: Buffer, at: number, ksid: string | undefined): number {
  if (ksid === undefined) into.fill(0, at, at + KSID_BYTES);
  else into.write(ksid.replaceAll('-', ''), at, 'hex');
  return at + KSID_BYTES;
}

function readText(field: string, bytes: Buffer): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw bad(`${field} is not UTF-8`);
  }
}

function bad(detail: string): KeyweaveError {
  return new KeyweaveError('BAD_REQUEST', detail);
}
