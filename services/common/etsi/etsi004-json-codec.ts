import { KeyweaveError } from '#common/errors/keyweave-error.ts';

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

export function encodeOpenConnect(data: {
  source: string;
  destination: string;
  qos: JsonQos;
  key_stream_id?: string;
}): Buffer {
  return encode('OPEN_CONNECT', data);
}

export function encodeGetKey(data: {
  key_stream_id: string;
  index: number;
  metadata?: { size: number; buffer: string };
}): Buffer {
  return encode('GET_KEY', data);
}

export function encodeClose(data: { key_stream_id: string }): Buffer {
  return encode('CLOSE', data);
}

function encode(command: string, data: object): Buffer {
  return Buffer.from(JSON.stringify({ command, data }));
}

/**
 * Reads an answer; a status that is not a number, as the reference's
 * "error", reads as -1.
 *
 * @throws KeyweaveError QKD_UNAVAILABLE when it is no answer at all.
 */
export function parseJsonAnswer(json: unknown): JsonAnswer {
  if (typeof json !== 'object' || json === null || Array.isArray(json) || !('status' in json)) {
    throw new KeyweaveError('QKD_UNAVAILABLE', 'the answer is not a JSON object with a status');
  }
  const answer = json as Record<string, unknown>;
  return {
    status: Number.isInteger(answer.status) ? (answer.status as number) : -1,
    message: typeof answer.message === 'string' ? answer.message : '',
    key_stream_id: typeof answer.key_stream_id === 'string' ? answer.key_stream_id : undefined,
    key_buffer: answer.key_buffer,
    index: Number.isInteger(answer.index) ? (answer.index as number) : undefined,
    qos: answer.qos as Partial<JsonQos> | undefined,
    metadata: answer.metadata as JsonAnswer['metadata'],
  };
}

const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;
const HEX = /^[0-9A-Fa-f]*$/;

/**
 * The key of an answer: a list of byte values, hex, or base64 (either
 * alphabet, padded or not). Which one follows from the length alone, since the
 * size of the key is known: hex has 2n digits and base64 at most 4⌈n/3⌉, which
 * are the same only for n of 1 and 2, and those are never asked for. The caller wipes it.
 *
 * @throws KeyweaveError QKD_UNAVAILABLE for anything that is not exactly `expectedBytes` bytes.
 */
export function decodeKeyBuffer(value: unknown, expectedBytes: number): Buffer {
  const key = Array.isArray(value)
    ? fromList(value, expectedBytes)
    : typeof value === 'string'
      ? fromText(value, expectedBytes)
      : undefined;
  if (!key) throw new KeyweaveError('QKD_UNAVAILABLE', `the key is not ${expectedBytes} bytes in a known form`);
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
  if (expectedBytes > 2 && text.length === expectedBytes * 2 && HEX.test(text)) return Buffer.from(text, 'hex');
  const unpadded = Math.ceil((expectedBytes * 4) / 3);
  const padded = Math.ceil(expectedBytes / 3) * 4;
  if ((text.length !== unpadded && text.length !== padded) || !BASE64.test(text)) return undefined;
  const key = Buffer.from(text, 'base64');
  return key.length === expectedBytes ? key : undefined;
}
