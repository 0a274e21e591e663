import type { Socket } from 'node:net';
import type { NodeConfig } from '#common/config/node-config.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import type { AnswerClient } from '#common/etsi/answer-client.ts';

/** Room offered for metadata, which we do not read, bytes: too little would be refused with status 8. */
export const METADATA_ROOM = 1024;

/** Rate asked of the key manager, bit/s: what the ETSI reference allows at most. It may give less. */
export const MAX_BPS = 500_000;

/** How much earlier than we the key manager should give up, so that its status still reaches us. */
const TIMEOUT_MARGIN_MS = 100;

/** The two ends of a QKD stream as the key manager knows them. */
export interface QkdUris {
  readonly source: string;
  readonly destination: string;
}

/** An answer of a key manager, of whichever call. */
export interface KmeAnswer {
  /** ETSI GS QKD 004 V2.1.1, 6.1; -1 where it is no number. */
  readonly status: number;
  readonly message: string;
  /** Of OPEN_CONNECT: the Key_stream_ID, as the key manager writes it. */
  readonly handle: string | undefined;
  /** Of OPEN_CONNECT: the Key_chunk_size that the stream is open on, bytes. */
  readonly chunkBytes: number | undefined;
  /** Of GET_KEY: which key it is, where key managers of the dialect honour the index. */
  readonly index: number | undefined;
  /** Of GET_KEY: the key, bytes or however else it is written; whoever takes it wipes it. */
  readonly key: unknown;
}

/** An OPEN_CONNECT to be made. */
export interface OpenWish {
  readonly uris: QkdUris;
  /** Size of each key, bytes. */
  readonly keyBytes: number;
  /** How long we wait for the answer. */
  readonly timeoutMs: number;
  /** Key_stream_ID of the stream to join; empty: the key manager makes one, or pairs by URIs. */
  readonly join: string;
}

/**
 * One way to write ETSI GS QKD 004 V2.1.1.
 *
 * @typeParam A an answer as its connections give it.
 */
export interface Etsi004Dialect<A> {
  /** Whether key managers of the dialect join two ends that name the same URIs and no Key_stream_ID. */
  readonly pairsByUris: boolean;
  /** The client's end of a connected socket. */
  connect(socket: Socket): AnswerClient<A>;
  /** @throws KeyweaveError QKD_UNAVAILABLE for a `join` that is no id in this dialect. */
  openConnect(wish: OpenWish): Buffer;
  /** The key of that number; key managers have 32 bits for it. */
  getKey(handle: string, position: bigint): Buffer;
  /** Undefined for a handle that is none in this dialect. */
  close(handle: string): Buffer | undefined;
  /** @throws KeyweaveError QKD_UNAVAILABLE for what is no answer. */
  read(answer: A): KmeAnswer;
  /** The id by which both ends find a stream of probes that has these URIs; empty: they find it by the URIs. */
  probeId(uris: QkdUris): string;
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

/** The QoS timeout that makes the key manager answer before `timeoutMs` are over. */
export function qosTimeoutMs(timeoutMs: number): number {
  return Math.max(1, timeoutMs - TIMEOUT_MARGIN_MS);
}

/** The index by which a key manager may find the key. */
export function indexOf(position: bigint): number {
  return Number(position & 0xffffffffn);
}

/** Status 7 with a stream is the ETSI reference's: the stream is open on an adjusted QoS. */
export function isOpen(answer: KmeAnswer): answer is KmeAnswer & { handle: string } {
  const open =
    answer.status === ETSI004_STATUS.SUCCESS ||
    (answer.status === ETSI004_STATUS.QOS_NOT_MET && answer.chunkBytes !== undefined);
  return open && answer.handle !== undefined && answer.handle !== '';
}
