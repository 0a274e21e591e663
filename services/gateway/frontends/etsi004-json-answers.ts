import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS, STATUS_TABLE } from '#common/errors/status-table.ts';
import type { Qos } from '#gen/keyweave/v1/key_agreement.ts';
import type { Chunk } from '../key-streams/chunk-buffer.ts';
import type { Opened } from '../key-streams/key-delivery.ts';
import type { KeyStream } from '../key-streams/key-stream.ts';

/** The ASCII digits of every byte value with a comma behind. */
const DECIMALS: readonly Buffer[] = Array.from({ length: 256 }, (_, value) =>
  Buffer.from(`${value},`, 'latin1'),
);

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
      : `,"metadata":${JSON.stringify({ size: metadata.length, buffer: metadata })}`;
  const tail = Buffer.from(`],"index":${chunk.index}${meta}}`, 'latin1');
  const answer = Buffer.allocUnsafeSlow(KEY_PREFIX.length + chunk.key.length * 4 + tail.length);
  let at = KEY_PREFIX.copy(answer);
  for (const value of chunk.key) at += (DECIMALS[value] as Buffer).copy(answer, at);
  // The comma behind the last number gives way to the bracket.
  at -= 1;
  at += tail.copy(answer, at);
  return answer.subarray(0, at);
}

/** ETSI GS QKD 004 V2.1.1 Table 3 (age, hops), and ours. */
export function chunkMetadata(chunk: Chunk, stream: KeyStream, nowMs: number): string {
  return JSON.stringify({
    age: Math.max(0, nowMs - chunk.availableAtMs),
    hops: 0,
    sources: stream.terms.slots.map((slot) => slot.algorithm),
    method: stream.terms.method.name,
    policy_met: !chunk.degraded,
    degraded: chunk.degraded,
  });
}

export function closeAnswer(): Buffer {
  return Buffer.from('{"status":0}');
}

/** Any failure: an integer status and a message that names the fault. */
export function errorAnswer(error: KeyweaveError): Buffer {
  return Buffer.from(JSON.stringify({ status: STATUS_TABLE[error.reason].etsi004, message: error.detail }));
}

/** Status 8: what room the metadata needs; the key stays where it is. */
export function metadataTooSmallAnswer(neededBytes: number): Buffer {
  return Buffer.from(
    JSON.stringify({
      status: ETSI004_STATUS.METADATA_TOO_SMALL,
      message: `the metadata needs ${neededBytes} bytes`,
      metadata: { size: neededBytes, buffer: '' },
    }),
  );
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
