import { hash } from 'node:crypto';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { BinaryClient } from '#common/etsi/binary-client.ts';
import type { BinaryAnswer } from '#common/etsi/etsi004-binary-answers.ts';
import { writeClose, writeGetKey, writeOpenConnect } from '#common/etsi/etsi004-binary-codec.ts';
import { UUID_ANY_CASE, uuidText } from '#common/ids/uuid.ts';
import type { QkdDriver } from '../qkd-driver.ts';
import {
  type Etsi004Dialect,
  indexOf,
  MAX_BPS,
  METADATA_ROOM,
  type QkdUris,
  qosTimeoutMs,
} from './etsi004-dialect.ts';
import { createEtsi004Driver, type DriverOptions } from './etsi004-driver.ts';

/** What the ETSI reference meets with status 0; where a key manager gives less it says so with status 7. */
const MIN_BPS = 5_000;
const JITTER_BPS = 10;

/** Keys that nobody reads for so long may be erased, seconds: what the ETSI reference allows at most. */
const TTL_S = 7_200;

/**
 * ETSI 004 in the binary protocol of ETSI's reference (QUBIP/etsi-qkd-004). Its
 * key managers give the key of the index that they are asked for and say which
 * it is, and know the two ends of a stream by its Key_stream_ID alone.
 */
export const BINARY_DIALECT: Etsi004Dialect<BinaryAnswer> = {
  pairsByUris: false,

  connect: (socket) => new BinaryClient(socket),

  openConnect({ uris, keyBytes, timeoutMs, join }) {
    if (join !== '' && !UUID_ANY_CASE.test(join)) {
      throw new KeyweaveError('QKD_UNAVAILABLE', 'the other end names a QKD stream by no Key_stream_ID');
    }
    const qos = {
      keyChunkSize: keyBytes,
      maxBps: MAX_BPS,
      minBps: MIN_BPS,
      jitter: JITTER_BPS,
      priority: 0,
      timeoutMs: qosTimeoutMs(timeoutMs),
      ttlS: TTL_S,
      metadataMimetype: 'application/json',
    };
    return writeOpenConnect({ ...uris, qos, ksid: join === '' ? undefined : join });
  },

  getKey: (ksid, position) => writeGetKey({ ksid, index: indexOf(position), metadataRoom: METADATA_ROOM }),

  close: (ksid) => (UUID_ANY_CASE.test(ksid) ? writeClose(ksid) : undefined),

  read({ status, opened, delivered }) {
    const chunkBytes = opened?.qos.keyChunkSize;
    const { index, key } = delivered ?? { index: undefined, key: undefined };
    return { status, message: '', handle: opened?.ksid, chunkBytes, index, key };
  },

  // A predefined stream (6.2.4): both ends come to its id by themselves.
  probeId: (uris) => uuidOf(uris),
};

/**
 * ETSI GS QKD 004 in the reference's binary protocol over TCP or TLS.
 *
 * @throws KeyweaveError BAD_CONFIG when the TLS files are not usable.
 */
export function createEtsi004BinaryDriver(
  address: Address,
  settings: NodeConfig['qkd'],
  options: DriverOptions = {},
): QkdDriver {
  return createEtsi004Driver(BINARY_DIALECT, address, settings, options);
}

/** A UUID that is made of the URIs, in the form of version 4, which some key managers insist on. */
function uuidOf({ source, destination }: QkdUris): string {
  const bytes = hash('sha256', JSON.stringify([source, destination]), 'buffer').subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return uuidText('Key_stream_ID', bytes);
}
