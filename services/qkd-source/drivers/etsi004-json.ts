import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { ownMemory, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import {
  encodeClose,
  encodeGetKey,
  encodeOpenConnect,
  type JsonAnswer,
  parseJsonAnswer,
} from '#common/etsi/etsi004-json-codec.ts';
import type { JsonConnection } from '#common/etsi/json-connection.ts';
import { KeyReader, wipeAnswer } from './key-reader.ts';
import { KmeConnections } from './kme-connections.ts';
import type { QkdDriver, QkdStreamName } from './qkd-driver.ts';

/** Room offered for metadata, which we do not read: too little would be refused with status 8. */
const METADATA = { size: 1024, buffer: '' };

/** Rate asked of the key manager, bit/s: what the ETSI reference allows at most. It may give less. */
const MAX_BPS = 500_000;

/** How much earlier than we the key manager should give up, so that its status still reaches us. */
const TIMEOUT_MARGIN_MS = 100;

/**
 * ETSI GS QKD 004 as JSON over TCP or TLS, as the reference speaks it to its
 * key managers. Keys are read strictly in sequence: a key manager that honours
 * the index is asked for the next one, and one that ignores it gives that anyway.
 *
 * @throws KeyweaveError BAD_CONFIG when the TLS files are not usable.
 */
export function createEtsi004JsonDriver(address: Address, settings: NodeConfig['qkd']): QkdDriver {
  const connections = new KmeConnections(address, settings);
  const limitOf = (signal: AbortSignal) => AbortSignal.any([signal, AbortSignal.timeout(settings.timeout)]);

  /** One OPEN_CONNECT or CLOSE; sent anew when a connection used before turns out to be dead. */
  function call(payload: Buffer, limit: AbortSignal): Promise<JsonAnswer> {
    return connections.inTurn(limit, async () => {
      for (;;) {
        const connection = await connections.take(limit);
        try {
          const answer = await endingAt(limit, connection, () => connection.request(payload));
          connections.giveBack(connection);
          return parseJsonAnswer(answer);
        } catch (cause) {
          connection.destroy();
          if (cause instanceof KeyweaveError) throw unavailable(cause.detail, cause);
          if (limit.aborted || !connections.lost(connection)) {
            throw unavailable('the key manager did not answer', cause);
          }
        }
      }
    });
  }

  function openConnect(
    stream: QkdStreamName,
    keyBytes: number,
    join: string,
    limit: AbortSignal,
  ): Promise<JsonAnswer> {
    const qos = {
      key_chunk_size: keyBytes,
      max_bps: MAX_BPS,
      min_bps: 0,
      jitter: 0,
      priority: 0,
      timeout: Math.max(1, settings.timeout - TIMEOUT_MARGIN_MS),
      ttl: 0,
      metadata_mimetype: 'application/json',
    };
    const source = uri(settings.source_application, stream, stream.sourceNode);
    const destination = uri(settings.destination_application, stream, stream.destinationNode);
    const data = { source, destination, qos };
    return call(encodeOpenConnect(join === '' ? data : { ...data, key_stream_id: join }), limit);
  }

  async function close(handle: string, limit: AbortSignal): Promise<void> {
    if (handle !== '') await call(encodeClose({ key_stream_id: handle }), limit).catch(() => undefined);
  }

  /** GET_KEYs until all are there or the key manager is dry. */
  async function read(handle: string, first: bigint, count: number, reader: KeyReader, limit: AbortSignal) {
    let connection: JsonConnection | undefined;
    for (let next = 0; next < count && !reader.dry; ) {
      const current = connection ?? (await connections.take(limit));
      const burst = connections.burst(count - next);
      const requests = Array.from({ length: burst }, (_, i) => {
        const index = Number((first + BigInt(next + i)) & 0xffffffffn);
        return encodeGetKey({ key_stream_id: handle, index, metadata: METADATA });
      });
      try {
        await endingAt(limit, current, () => readBurst(current, requests, reader));
      } catch (error) {
        current.destroy();
        connections.lost(current);
        connections.window.failed(burst);
        throw error;
      }
      if (reader.dry) connections.window.ranDry();
      else connections.window.succeeded();
      next += burst;
      connection = undefined;
      if (next >= count || reader.dry) connections.giveBack(current);
      else if (await connections.staysOpen(current)) connection = current;
      else current.destroy();
    }
  }

  return {
    async open(stream, keyBytes, join, signal) {
      const limit = limitOf(signal);
      const byKsid = join !== '' && settings.join !== 'uris';
      let answer = await openConnect(stream, keyBytes, byKsid ? join : '', limit);
      // A key manager that cannot join by KSID pairs the two ends by their URIs.
      if (byKsid && settings.join === 'auto' && !isOpen(answer)) {
        answer = await openConnect(stream, keyBytes, '', limit);
      }
      if (!isOpen(answer)) {
        throw unavailable(`the key manager refuses OPEN_CONNECT with status ${answer.status}`);
      }
      const given = answer.qos?.key_chunk_size ?? keyBytes;
      if (given !== keyBytes) {
        await close(answer.key_stream_id, limit);
        throw unavailable(`the key manager does not give keys of ${keyBytes} bytes`);
      }
      return answer.key_stream_id;
    },

    async fetch(handle, first, count, keyBytes, signal) {
      const limit = limitOf(signal);
      const keys = ownMemory(count * keyBytes);
      const reader = new KeyReader(keys, keyBytes);
      try {
        await connections.inTurn(limit, () => read(handle, first, count, reader, limit));
        return keys.subarray(0, reader.count * keyBytes);
      } catch (cause) {
        wipe(keys);
        throw reader.failure(cause);
      }
    },

    close: (handle, signal) => close(handle, limitOf(signal)),

    stop: () => connections.stop(),
  };
}

/** Sends the requests together and takes their answers in order. */
async function readBurst(
  connection: JsonConnection,
  requests: readonly Buffer[],
  reader: KeyReader,
): Promise<void> {
  const answers = requests.map((request) => {
    reader.sent();
    return connection.request(request);
  });
  try {
    for (const answer of answers) reader.accept(parseJsonAnswer(await answer));
  } catch (error) {
    // What follows cannot be used any more; what has come is wiped.
    connection.destroy();
    for (const result of await Promise.allSettled(answers)) {
      if (result.status === 'fulfilled') wipeAnswer((result.value ?? {}) as { key_buffer?: unknown });
    }
    throw error;
  }
}

/** Status 7 with a stream is the ETSI reference's: the stream is open on an adjusted QoS. */
function isOpen(answer: JsonAnswer): answer is JsonAnswer & { key_stream_id: string } {
  const open =
    answer.status === ETSI004_STATUS.SUCCESS ||
    (answer.status === ETSI004_STATUS.QOS_NOT_MET && answer.qos?.key_chunk_size !== undefined);
  return open && answer.key_stream_id !== undefined && answer.key_stream_id !== '';
}

/** Names the stream, so that a key manager which pairs by URIs cannot mix two up. */
function uri(fixed: string | undefined, stream: QkdStreamName, node: string): string {
  const epoch = stream.epoch === 0 ? '' : `-${stream.epoch}`;
  return `qkd://${fixed ?? `keyweave-${stream.keyStreamId}${epoch}`}@${node}`;
}

function unavailable(detail: string, cause?: unknown): KeyweaveError {
  return new KeyweaveError('QKD_UNAVAILABLE', detail, { cause });
}

/** Ends the connection, and with it the wait, when the signal fires. */
async function endingAt<T>(
  signal: AbortSignal,
  connection: JsonConnection,
  work: () => Promise<T>,
): Promise<T> {
  const give = () => connection.destroy('the key manager did not answer in time');
  if (signal.aborted) give();
  signal.addEventListener('abort', give, { once: true });
  try {
    return await work();
  } finally {
    signal.removeEventListener('abort', give);
  }
}
