import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type {
  GetKeysRequest,
  ListStreamsRequest,
  OpenConnectRequest,
} from '#gen/keyweave/v1/key_delivery.ts';
import type { OpenConnect } from '../../delivery/key-delivery.ts';

/** Keys of one GetKeys at most. */
const MAX_KEYS = 256;

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;

const MAX_MIMETYPE_CHARS = 256;

/** Bytes of a key where the client leaves it to the nodes. */
const DEFAULT_KEY_BYTES = 32;

const NO_QOS: Qos = {
  ...{ keyChunkSize: 0, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 0, ttlS: 0 },
  metadataMimetype: '',
};

/** What an OpenConnect names. @throws KeyweaveError BAD_REQUEST naming the field. */
export function readOpen(
  request: OpenConnectRequest,
): Pick<OpenConnect, 'source' | 'destination' | 'peer' | 'ksid' | 'qos'> {
  const { source, destination, peerNode, keyStreamId, qos = NO_QOS } = request;
  if (peerNode !== '' && !UUID_ANY_CASE.test(peerNode)) throw bad('peer_node is not a UUID');
  if (qos.metadataMimetype.length > MAX_MIMETYPE_CHARS) {
    throw bad(`qos.metadata_mimetype has ${MAX_MIMETYPE_CHARS} characters at most`);
  }
  return {
    ...{ source, destination },
    qos: { ...qos, keyChunkSize: qos.keyChunkSize === 0 ? DEFAULT_KEY_BYTES : qos.keyChunkSize },
    peer: peerNode === '' ? undefined : peerNode.toLowerCase(),
    ksid: keyStreamId === '' ? undefined : keyStreamId,
  };
}

/** How many keys, 1 at least. @throws KeyweaveError BAD_REQUEST */
export function readCount({ maxKeys }: GetKeysRequest): number {
  if (maxKeys > MAX_KEYS) throw bad(`max_keys must be 1 to ${MAX_KEYS}, not ${maxKeys}`);
  return Math.max(1, maxKeys);
}

/** How many streams of a page. @throws KeyweaveError BAD_REQUEST */
export function readPageSize({ pageSize }: ListStreamsRequest): number {
  if (pageSize > MAX_PAGE) throw bad(`page_size must be 1 to ${MAX_PAGE}, not ${pageSize}`);
  return pageSize === 0 ? DEFAULT_PAGE : pageSize;
}

export function bad(detail: string): KeyweaveError {
  return new KeyweaveError('BAD_REQUEST', detail);
}
