import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import {
  encodeClose,
  encodeGetKey,
  encodeOpenConnect,
  parseJsonAnswer,
} from '#common/etsi/etsi004-json-codec.ts';
import { JsonClient } from '#common/etsi/json-client.ts';
import type { QkdDriver } from '../qkd-driver.ts';
import { type Etsi004Dialect, indexOf, MAX_BPS, METADATA_ROOM, qosTimeoutMs } from './etsi004-dialect.ts';
import { createEtsi004Driver, type DriverOptions } from './etsi004-driver.ts';

/**
 * ETSI 004 as JSON, as the reference speaks it to its key managers. Of these
 * some honour the index and some ignore it, so that what they say of it is not
 * looked at.
 */
export const JSON_DIALECT: Etsi004Dialect<unknown> = {
  pairsByUris: true,

  connect: (socket) => new JsonClient(socket),

  openConnect({ uris, keyBytes, timeoutMs, join }) {
    const qos = {
      key_chunk_size: keyBytes,
      max_bps: MAX_BPS,
      min_bps: 0,
      jitter: 0,
      priority: 0,
      timeout: qosTimeoutMs(timeoutMs),
      ttl: 0,
      metadata_mimetype: 'application/json',
    };
    const data = { ...uris, qos };
    return encodeOpenConnect(join === '' ? data : { ...data, key_stream_id: join });
  },

  getKey: (handle, position) =>
    encodeGetKey({
      key_stream_id: handle,
      index: indexOf(position),
      metadata: { size: METADATA_ROOM, buffer: '' },
    }),

  close: (handle) => encodeClose({ key_stream_id: handle }),

  read(json) {
    const { status, message, key_stream_id, qos, key_buffer } = parseJsonAnswer(json);
    const chunkBytes = qos?.key_chunk_size;
    return { status, message, handle: key_stream_id, chunkBytes, index: undefined, key: key_buffer };
  },

  probeId: () => '',
};

/**
 * ETSI GS QKD 004 as JSON over TCP or TLS.
 *
 * @throws KeyweaveError BAD_CONFIG when the TLS files are not usable.
 */
export function createEtsi004JsonDriver(
  address: Address,
  settings: NodeConfig['qkd'],
  options: DriverOptions = {},
): QkdDriver {
  return createEtsi004Driver(JSON_DIALECT, address, settings, options);
}
