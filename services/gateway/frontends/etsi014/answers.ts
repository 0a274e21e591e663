import type { TakenKey } from '../named-keys/taken-keys.ts';

const START = Buffer.from('{"keys":[', 'latin1');
const KEY_ID = Buffer.from('{"key_ID":"', 'latin1');
const KEY = Buffer.from('","key":"', 'latin1');
const KEY_END = Buffer.from('"},', 'latin1');
const END = Buffer.from(']}', 'latin1');

const ID_CHARS = 36;

const DIGITS = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const PADDING = 0x3d;

/** How a KME and what it can do stand towards a slave SAE. */
export interface Status {
  readonly sourceKme: string;
  readonly targetKme: string;
  readonly master: string;
  readonly slave: string;
  readonly keySize: number;
  readonly storedKeys: number;
  readonly maxKeys: number;
  readonly maxKeysPerRequest: number;
  readonly maxKeySize: number;
  readonly minKeySize: number;
  readonly maxSaeIds: number;
}

/** Status data format (ETSI GS QKD 014 V1.1.1, Table 9). */
export function statusAnswer(status: Status): Buffer {
  return Buffer.from(
    JSON.stringify({
      source_KME_ID: status.sourceKme,
      target_KME_ID: status.targetKme,
      master_SAE_ID: status.master,
      slave_SAE_ID: status.slave,
      key_size: status.keySize,
      stored_key_count: status.storedKeys,
      max_key_count: status.maxKeys,
      max_key_per_request: status.maxKeysPerRequest,
      max_key_size: status.maxKeySize,
      min_key_size: status.minKeySize,
      max_SAE_ID_count: status.maxSaeIds,
    }),
  );
}

/**
 * Key container data format (Table 11). Wipes the keys, which are written as
 * bytes and never become a string; whoever sends the answer wipes it.
 */
export function keysAnswer(keys: readonly TakenKey[]): Buffer {
  let bytes = START.length + END.length;
  for (const { key } of keys) {
    bytes += KEY_ID.length + ID_CHARS + KEY.length + base64Chars(key.length) + KEY_END.length;
  }
  const answer = Buffer.allocUnsafeSlow(bytes - (keys.length === 0 ? 0 : 1));
  let at = put(answer, START, 0);
  for (const [i, { id, key }] of keys.entries()) {
    at = put(answer, KEY_ID, at);
    at += answer.write(id, at, 'latin1');
    at = put(answer, KEY, at);
    at = putBase64(answer, key.expose(), at);
    key.wipe();
    at = i === keys.length - 1 ? put(answer, KEY_END.subarray(0, 2), at) : put(answer, KEY_END, at);
  }
  put(answer, END, at);
  return answer;
}

function put(answer: Buffer, what: Buffer, at: number): number {
  answer.set(what, at);
  return at + what.length;
}

function base64Chars(bytes: number): number {
  return 4 * Math.ceil(bytes / 3);
}

/** RFC 4648, clause 4. */
function putBase64(answer: Buffer, bytes: Buffer, start: number): number {
  let at = start;
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const three =
      ((bytes[i] as number) << 16) |
      ((left > 1 ? (bytes[i + 1] as number) : 0) << 8) |
      (left > 2 ? (bytes[i + 2] as number) : 0);
    answer[at++] = DIGITS[three >> 18] as number;
    answer[at++] = DIGITS[(three >> 12) & 63] as number;
    answer[at++] = left > 1 ? (DIGITS[(three >> 6) & 63] as number) : PADDING;
    answer[at++] = left > 2 ? (DIGITS[three & 63] as number) : PADDING;
  }
  return at;
}
