import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';

/** QoS as the JSON dialect names it; units are those of ETSI GS QKD 004 V2.1.1 Table 2. */
export interface JsonQos {
  key_chunk_size: number;
  max_bps: number;
  min_bps: number;
  jitter: number;
  priority: number;
  timeout: number;
  ttl: number;
  metadata_mimetype: string;
}

/** A QoS as the JSON dialect writes it. */
export function jsonQos(qos: Readonly<Qos>): JsonQos {
  return {
    key_chunk_size: qos.keyChunkSize,
    max_bps: qos.maxBps,
    min_bps: qos.minBps,
    jitter: qos.jitter,
    priority: qos.priority,
    timeout: qos.timeoutMs,
    ttl: qos.ttlS,
    metadata_mimetype: qos.metadataMimetype,
  };
}

/** What a request leaves to the node that it asks. */
const LEFT_TO_THE_NODE: Readonly<Qos> = {
  ...{ keyChunkSize: 0, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 0, ttlS: 0 },
  metadataMimetype: 'application/json',
};

/** The QoS that the JSON dialect has written; what it leaves out is as in `otherwise`. */
export function qosOfJson(json: Partial<JsonQos>, otherwise: Readonly<Qos> = LEFT_TO_THE_NODE): Qos {
  return {
    keyChunkSize: json.key_chunk_size ?? otherwise.keyChunkSize,
    maxBps: json.max_bps ?? otherwise.maxBps,
    minBps: json.min_bps ?? otherwise.minBps,
    jitter: json.jitter ?? otherwise.jitter,
    priority: json.priority ?? otherwise.priority,
    timeoutMs: json.timeout ?? otherwise.timeoutMs,
    ttlS: json.ttl ?? otherwise.ttlS,
    metadataMimetype: json.metadata_mimetype ?? otherwise.metadataMimetype,
  };
}

/** The data of an OPEN_CONNECT. Without a KSID the server makes one or pairs by the URIs. */
export interface OpenData {
  source: string;
  destination: string;
  qos: JsonQos;
  key_stream_id?: string;
}

/** What an answer says, of whichever call. */
export interface JsonAnswer {
  readonly status: number;
  readonly message: string;
  readonly key_stream_id: string | undefined;
  readonly key_buffer: unknown;
  readonly index: number | undefined;
  readonly qos: Partial<JsonQos> | undefined;
  readonly metadata: { size: number; buffer: string } | undefined;
}

/** The request OPEN_CONNECT. */
export function encodeOpenConnect(data: OpenData): Buffer {
  return encode('OPEN_CONNECT', data);
}

/** The request GET_KEY; `metadata.size` is the room offered for metadata, in bytes. */
export function encodeGetKey(data: {
  key_stream_id: string;
  index: number;
  metadata?: { size: number; buffer: string };
}): Buffer {
  return encode('GET_KEY', data);
}

/** The request CLOSE. */
export function encodeClose(data: { key_stream_id: string }): Buffer {
  return encode('CLOSE', data);
}

function encode(command: string, data: object): Buffer {
  return Buffer.from(JSON.stringify({ command, data }));
}

/**
 * Reads an answer: the reference's, those of its relatives with `index`,
 * `qos` and `metadata`, and the capitalised spelling of QKDNetSim. A status
 * that is not a number, as the reference's "error", reads as -1.
 *
 * @throws KeyweaveError QKD_UNAVAILABLE when it is no answer at all.
 */
export function parseJsonAnswer(json: unknown): JsonAnswer {
  const answer = members(json);
  if (answer?.status === undefined) {
    throw new KeyweaveError('QKD_UNAVAILABLE', 'the answer is not a JSON object with a status');
  }
  return {
    status: wholeNumber(answer.status) ?? -1,
    message: typeof answer.message === 'string' ? answer.message : '',
    key_stream_id: typeof answer.key_stream_id === 'string' ? answer.key_stream_id : undefined,
    key_buffer: answer.key_buffer,
    index: wholeNumber(answer.index),
    qos: members(answer.qos) as Partial<JsonQos> | undefined,
    metadata: parseMetadata(answer.metadata),
  };
}

/** The members of an object, named in lower case. */
function members(json: unknown): Record<string, unknown> | undefined {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
  const named: Record<string, unknown> = Object.create(null);
  for (const name of Object.keys(json)) named[name.toLowerCase()] = (json as Record<string, unknown>)[name];
  return named;
}

function wholeNumber(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined;
}

function parseMetadata(value: unknown): JsonAnswer['metadata'] {
  const metadata = members(value);
  const size = wholeNumber(metadata?.size);
  const buffer = metadata?.buffer;
  if (size === undefined) return undefined;
  return { size, buffer: typeof buffer === 'string' ? buffer : '' };
}

const HEX = /^[0-9A-Fa-f]*$/;
const BASE64_DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const BASE64_STANDARD = /^[A-Za-z0-9+/]*$/;
const BASE64_URL = /^[A-Za-z0-9_-]*$/;

/**
 * The key of an answer: a list of byte values, hex, or base64 (either
 * alphabet, padded or not). Which one follows from the size of the key alone:
 * hex has 2n digits, base64 without padding ⌈4n/3⌉, and the two are the same
 * only for n = 1, where a text that can be read both ways is refused. Padded
 * base64 has as many for n = 2 and 4, but then it ends in a sign that is no
 * hex digit. The caller wipes the result.
 *
 * @throws KeyweaveError QKD_UNAVAILABLE for anything that is not exactly `expectedBytes` bytes.
 */
export function decodeKeyBuffer(value: unknown, expectedBytes: number): Buffer {
  const key = Array.isArray(value)
    ? fromList(value, expectedBytes)
    : typeof value === 'string'
      ? fromText(value, expectedBytes)
      : undefined;
  if (!key)
    throw new KeyweaveError('QKD_UNAVAILABLE', `the key is not ${expectedBytes} bytes in a known form`);
  return key;
}

function fromList(values: readonly unknown[], expectedBytes: number): Buffer | undefined {
  if (values.length !== expectedBytes) return undefined;
  const key = Buffer.allocUnsafeSlow(expectedBytes);
  for (let i = 0; i < expectedBytes; i++) {
    const value = values[i];
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 255) {
      key.fill(0);
      return undefined;
    }
    key[i] = value;
  }
  return key;
}

function fromText(text: string, expectedBytes: number): Buffer | undefined {
  const isHex = text.length === expectedBytes * 2 && HEX.test(text);
  const digits = base64Digits(text, expectedBytes);
  if (isHex && digits !== undefined && expectedBytes > 0) return undefined;
  if (isHex) return decodeInto(expectedBytes, text, 'hex');
  if (digits !== undefined) return decodeInto(expectedBytes, digits, 'base64');
  return undefined;
}

/** Into memory of its own: a pooled buffer would share its block with others. */
function decodeInto(expectedBytes: number, text: string, encoding: 'hex' | 'base64'): Buffer {
  const key = Buffer.allocUnsafeSlow(expectedBytes);
  key.write(text, encoding);
  return key;
}

/** The digits of `text` without padding, where it is base64 of exactly `expectedBytes` bytes (RFC 4648, 3.5 and 4). */
function base64Digits(text: string, expectedBytes: number): string | undefined {
  const length = Math.ceil((expectedBytes * 4) / 3);
  const padding = text.slice(length);
  if (text.length < length || (padding !== '' && padding !== '='.repeat((4 - (length % 4)) % 4))) {
    return undefined;
  }
  const digits = text.slice(0, length);
  if (BASE64_STANDARD.test(digits)) return lastDigitIsClean(digits, expectedBytes) ? digits : undefined;
  return BASE64_URL.test(digits) && lastDigitIsClean(digits, expectedBytes) ? digits : undefined;
}

/** Bits of the last digit that belong to no byte must be zero, or two texts would mean the same key. */
function lastDigitIsClean(digits: string, bytes: number): boolean {
  const unused = bytes % 3 === 0 ? 0 : bytes % 3 === 1 ? 0x0f : 0x03;
  if (unused === 0) return true;
  const last = digits.at(-1) === '-' ? '+' : digits.at(-1) === '_' ? '/' : (digits.at(-1) as string);
  return (BASE64_DIGITS.indexOf(last) & unused) === 0;
}
