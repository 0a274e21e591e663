import type { NodeConfig } from '#common/config/node-config.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import { encodeGetKey, encodeOpenConnect, type JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';

/** Room offered for metadata, which we do not read: too little would be refused with status 8. */
const METADATA = { size: 1024, buffer: '' };

/** Rate asked of the key manager, bit/s: what the ETSI reference allows at most. It may give less. */
const MAX_BPS = 500_000;

/** How much earlier than we the key manager should give up, so that its status still reaches us. */
const TIMEOUT_MARGIN_MS = 100;

/** The two ends of a QKD stream as the key manager knows them. */
export interface QkdUris {
  readonly source: string;
  readonly destination: string;
}

/** URIs of applications at two nodes, `fixed` where the configuration names them, else called `name`. */
export function urisOf(
  settings: NodeConfig['qkd'],
  name: string,
  { sourceNode, destinationNode }: { sourceNode: string; destinationNode: string },
): QkdUris {
  return {
    source: `qkd://${settings.source_application ?? name}@${sourceNode}`,
    destination: `qkd://${settings.destination_application ?? name}@${destinationNode}`,
  };
}

/**
 * An OPEN_CONNECT.
 *
 * @param timeoutMs how long we wait for its answer.
 * @param join id of the stream to join; empty: make one, or pair by URIs.
 */
export function openRequest(uris: QkdUris, keyBytes: number, timeoutMs: number, join = ''): Buffer {
  const qos = {
    key_chunk_size: keyBytes,
    max_bps: MAX_BPS,
    min_bps: 0,
    jitter: 0,
    priority: 0,
    timeout: Math.max(1, timeoutMs - TIMEOUT_MARGIN_MS),
    ttl: 0,
    metadata_mimetype: 'application/json',
  };
  const data = { ...uris, qos };
  return encodeOpenConnect(join === '' ? data : { ...data, key_stream_id: join });
}

/** A GET_KEY; key managers that honour the index have 32 bits for it. */
export function getKeyRequest(handle: string, position: bigint): Buffer {
  return encodeGetKey({ key_stream_id: handle, index: Number(position & 0xffffffffn), metadata: METADATA });
}

/** Status 7 with a stream is the ETSI reference's: the stream is open on an adjusted QoS. */
export function isOpen(answer: JsonAnswer): answer is JsonAnswer & { key_stream_id: string } {
  const open =
    answer.status === ETSI004_STATUS.SUCCESS ||
    (answer.status === ETSI004_STATUS.QOS_NOT_MET && answer.qos?.key_chunk_size !== undefined);
  return open && answer.key_stream_id !== undefined && answer.key_stream_id !== '';
}
