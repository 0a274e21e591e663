import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS, STATUS_TABLE } from '#common/errors/status-table.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { Opened } from '../../delivery/gateway-delivery.ts';
import type { Chunk } from '../../streams/chunk-buffer.ts';
import type { KeyStream } from '../../streams/key-stream.ts';

const ZERO = 0x30;
const COMMA = 0x2c;
const KEY_PREFIX = Buffer.from('{"status":0,"key_buffer":[', 'latin1');

/** Answer to OPEN_CONNECT: the reference's members, and the QoS that was met. */
export function openAnswer(opened: Opened): Buffer {
  const adjusted = opened.adjusted !== undefined;
  return Buffer.from(
    JSON.stringify({
      status: adjusted ? ETSI004_STATUS.QOS_NOT_MET : ETSI004_STATUS.SUCCESS,
      key_stream_id: opened.keyStreamId,
      qos: jsonQos(opened.qos),
      ...(adjusted ? { message: opened.adjusted } : {}),
    }),
  );
}

/**
 * Answer to GET_KEY. Written as bytes, so that the key never becomes a string;
 * whoever sends it wipes it.
 */
export function keyAnswer(chunk: Chunk, metadata: string | undefined): Buffer {
  const meta =
    metadata === undefined
      ? ''
      : `,"metadata":{"size":${metadata.length},"buffer":${JSON.stringify(metadata)}}`;
  const tail = `],"index":${chunk.index}${meta}}`;
  const key = chunk.key.expose();
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

/** What the metadata of every chunk of a stream has in common. */
const STREAM_METADATA = new WeakMap<KeyStream, string>();

/**
 * The metadata that fits into `room` bytes: ETSI GS QKD 004 V2.1.1 Table 3
 * (age, hops) and ours, or the standard's alone, or none. Status 8 is not for
 * this dialect: its clients name a room that they do not look at, and would
 * never get a key.
 */
export function chunkMetadata(chunk: Chunk, stream: KeyStream, room: number): string | undefined {
  const standard = `{"age":${stream.ageMs(chunk)},"hops":0`;
  if (standard.length + 1 > room) return undefined;
  const all = `${standard}${streamMetadata(stream)},"policy_met":${!chunk.degraded},"degraded":${chunk.degraded}}`;
  return all.length <= room ? all : `${standard}}`;
}

function streamMetadata(stream: KeyStream): string {
  let common = STREAM_METADATA.get(stream);
  if (common === undefined) {
    const { slots, method } = stream.terms;
    const sources = JSON.stringify(slots.map((slot) => slot.algorithm));
    common = `,"sources":${sources},"method":"${method.name}"`;
    STREAM_METADATA.set(stream, common);
  }
  return common;
}

export function closeAnswer(): Buffer {
  return Buffer.from('{"status":0}');
}

/** What an answer says of a failure; less than an error, which costs a stack. */
export type Fault = Pick<KeyweaveError, 'reason' | 'detail'>;

/** Any failure: an integer status and a message that names the fault. */
export function errorAnswer(fault: Fault): Buffer {
  return Buffer.from(JSON.stringify({ status: STATUS_TABLE[fault.reason].etsi004, message: fault.detail }));
}

function jsonQos(qos: Qos) {
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
