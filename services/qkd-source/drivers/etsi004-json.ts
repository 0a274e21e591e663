import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { wipe } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import {
  decodeKeyBuffer,
  encodeClose,
  encodeGetKey,
  encodeOpenConnect,
  type JsonAnswer,
  parseJsonAnswer,
} from '#common/etsi/etsi004-json-codec.ts';
import type { JsonConnection } from '#common/etsi/json-connection.ts';
import { KmeConnections } from './kme-connections.ts';
import type { QkdDriver, QkdStreamName } from './qkd-driver.ts';

/** GET_KEYs sent ahead on one connection. */
const PIPELINE = 32;

/** Room that the reference offers for metadata. */
const METADATA = { size: 46, buffer: '' };

/** Rate asked of the key manager, bit/s; it may give less. */
const MAX_BPS = 1_000_000_000;

/** ETSI GS QKD 004 as JSON over TCP or TLS, as the reference speaks it to its key managers. */
export function createEtsi004JsonDriver(address: Address, settings: NodeConfig['qkd']): QkdDriver {
  const connections = new KmeConnections(address, settings);

  /** One request on a connection of its own choosing, within the configured time. */
  async function call(payload: Buffer, signal: AbortSignal): Promise<JsonAnswer> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(settings.timeout)]);
    const connection = await connections.take(limit);
    try {
      const answer = parseJsonAnswer(await bounded(connection, connection.request(payload), limit));
      await connections.settle(connection);
      connections.give(connection);
      return answer;
    } catch (cause) {
      connection.destroy();
      if (cause instanceof KeyweaveError) throw cause;
      throw new KeyweaveError('QKD_UNAVAILABLE', 'the key manager did not answer', { cause });
    }
  }

  async function openOnce(
    stream: QkdStreamName,
    keyBytes: number,
    join: string,
    signal: AbortSignal,
  ): Promise<string> {
    const answer = await call(
      encodeOpenConnect({
        source: uri(settings.source_application, stream, stream.sourceNode),
        destination: uri(settings.destination_application, stream, stream.destinationNode),
        qos: {
          key_chunk_size: keyBytes,
          max_bps: MAX_BPS,
          min_bps: 0,
          jitter: 0,
          priority: 0,
          timeout: settings.timeout,
          ttl: 0,
          metadata_mimetype: 'application/json',
        },
        ...(join === '' ? {} : { key_stream_id: join }),
      }),
      signal,
    );
    if (answer.status !== ETSI004_STATUS.SUCCESS || answer.key_stream_id === undefined) {
      throw new KeyweaveError(
        'QKD_UNAVAILABLE',
        `the key manager refuses OPEN_CONNECT with status ${answer.status}`,
      );
    }
    return answer.key_stream_id;
  }

  return {
    async open(stream, keyBytes, join, signal) {
      if (join === '' || settings.join === 'uris') return openOnce(stream, keyBytes, '', signal);
      try {
        return await openOnce(stream, keyBytes, join, signal);
      } catch (error) {
        // A key manager that cannot join by KSID pairs the two ends by their URIs.
        if (settings.join === 'ksid' || !isReason(error, 'QKD_UNAVAILABLE')) throw error;
        return openOnce(stream, keyBytes, '', signal);
      }
    },

    async fetch(handle, first, count, keyBytes, signal) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(settings.timeout)]);
      const keys = Buffer.alloc(count * keyBytes);
      const reader = new KeyReader(keys, keyBytes);
      let connection: JsonConnection | undefined;
      try {
        for (let next = 0; next < count && !reader.dry; ) {
          connection ??= await connections.take(limit);
          const burst = connections.reusable ? Math.min(PIPELINE, count - next) : 1;
          const answers = Array.from({ length: burst }, (_, i) => {
            const index = Number((first + BigInt(next + i)) & 0xffffffffn);
            const request = encodeGetKey({ key_stream_id: handle, index, metadata: METADATA });
            reader.sent();
            return bounded(
              connection as JsonConnection,
              (connection as JsonConnection).request(request),
              limit,
            );
          });
          const settled = await Promise.allSettled(answers);
          for (const result of settled) {
            if (result.status === 'rejected') throw result.reason;
            reader.accept(parseJsonAnswer(result.value));
          }
          next += burst;
          if (!(await connections.settle(connection))) {
            connection.destroy();
            connection = undefined;
          }
        }
        if (connection) connections.give(connection);
        return keys.subarray(0, reader.count * keyBytes);
      } catch (cause) {
        connection?.destroy();
        wipe(keys);
        throw reader.failure(cause);
      }
    },

    async close(handle, signal) {
      await call(encodeClose({ key_stream_id: handle }), signal);
    },

    stop: () => connections.stop(),
  };
}

/** Collects the keys of one fetch in order and knows whether any may have been lost. */
class KeyReader {
  readonly #keys: Buffer;
  readonly #keyBytes: number;
  #sent = 0;
  #refused = 0;
  count = 0;
  dry = false;

  constructor(keys: Buffer, keyBytes: number) {
    this.#keys = keys;
    this.#keyBytes = keyBytes;
  }

  sent(): void {
    this.#sent += 1;
  }

  accept(answer: JsonAnswer): void {
    if (answer.status === ETSI004_STATUS.INSUFFICIENT_KEY) {
      this.dry = true;
      this.#refused += 1;
      return;
    }
    if (answer.status !== ETSI004_STATUS.SUCCESS) {
      this.#refused += 1;
      throw new KeyweaveError(
        'QKD_UNAVAILABLE',
        `the key manager refuses GET_KEY with status ${answer.status}`,
      );
    }
    const key = decodeKeyBuffer(answer.key_buffer, this.#keyBytes);
    if (Array.isArray(answer.key_buffer)) answer.key_buffer.fill(0);
    if (this.dry) {
      key.fill(0);
      throw new KeyweaveError('QKD_OUT_OF_STEP', 'the key manager skipped a key');
    }
    key.copy(this.#keys, this.count * this.#keyBytes);
    key.fill(0);
    this.count += 1;
  }

  /** Only when every request was refused is it sure that no key has gone. */
  failure(cause: unknown): KeyweaveError {
    if (this.#sent === this.#refused && cause instanceof KeyweaveError) return cause;
    const detail = cause instanceof KeyweaveError ? cause.detail : 'the key manager did not answer';
    return new KeyweaveError('QKD_OUT_OF_STEP', detail, { cause });
  }
}

/** Names the stream, so that a key manager which pairs by URIs cannot mix two up. */
function uri(fixed: string | undefined, stream: QkdStreamName, node: string): string {
  const epoch = stream.epoch === 0 ? '' : `-${stream.epoch}`;
  return `qkd://${fixed ?? `keyweave-${stream.keyStreamId}${epoch}`}@${node}`;
}

/** Ends the connection, and with it the wait, when the signal fires. */
async function bounded<T>(connection: JsonConnection, work: Promise<T>, signal: AbortSignal): Promise<T> {
  const give = () => connection.destroy('the key manager did not answer in time');
  if (signal.aborted) give();
  signal.addEventListener('abort', give, { once: true });
  try {
    return await work;
  } finally {
    signal.removeEventListener('abort', give);
  }
}
