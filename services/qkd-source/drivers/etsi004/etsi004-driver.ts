import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { ownMemory, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import type { AnswerClient } from '#common/etsi/answer-client.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { systemClock } from '#common/time/clock.ts';
import { MAX_HANDLE_CHARS, type QkdDriver, type QkdStreamName } from '../qkd-driver.ts';
import { Slots } from '../slots.ts';
import { type Etsi004Dialect, isOpen, type KmeAnswer, urisOf } from './etsi004-dialect.ts';
import { KeyReader, wipeAnswer } from './key-reader.ts';
import { KmeConnections } from './kme-connections.ts';
import { KmeLearning } from './kme-learning.ts';

/** CLOSEs under way at a time: nobody waits for them, and they must not take every connection. */
const MAX_CLOSING = 8;

/** What a driver leans on. */
export interface DriverOptions {
  readonly log?: Log;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/**
 * ETSI GS QKD 004 V2.1.1 over TCP or TLS, in whichever dialect. Keys are read
 * strictly in sequence: a key manager that honours the index is asked for the
 * next one, and one that ignores it gives that anyway.
 *
 * @throws KeyweaveError BAD_CONFIG when the TLS files are not usable.
 */
export function createEtsi004Driver<A>(
  dialect: Etsi004Dialect<A>,
  address: Address,
  settings: NodeConfig['qkd'],
  options: DriverOptions = {},
): QkdDriver {
  const connections = new KmeConnections(dialect, address, settings);
  const { log = silentLog, now = systemClock.monotonicMs } = options;
  const learning = new KmeLearning({ dialect, connections, settings, log, now });
  const closing = new Slots(MAX_CLOSING);
  const limitOf = (signal: AbortSignal) => AbortSignal.any([signal, AbortSignal.timeout(settings.timeout)]);

  /** One OPEN_CONNECT or CLOSE; sent anew when a connection used before turns out to be dead. */
  function call(payload: Buffer, limit: AbortSignal): Promise<KmeAnswer> {
    return connections.inTurn(limit, async () => {
      for (;;) {
        const connection = await connections.take(limit);
        try {
          const answer = await endingAt(limit, connection, () => connection.request(payload));
          connections.giveBack(connection);
          return dialect.read(answer);
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

  async function openConnect(
    stream: QkdStreamName,
    keyBytes: number,
    join: string,
    limit: AbortSignal,
  ): Promise<KmeAnswer> {
    const uris = urisOf(settings, nameOf(stream), stream);
    return call(dialect.openConnect({ uris, keyBytes, timeoutMs: settings.timeout, join }), limit);
  }

  async function close(handle: string, limit: AbortSignal): Promise<void> {
    const request = handle === '' ? undefined : dialect.close(handle);
    if (!request) return;
    await closing.run(limit, () => call(request, limit)).catch(() => undefined);
  }

  /** GET_KEYs until all are there or the key manager is dry. */
  async function read(handle: string, first: bigint, count: number, reader: KeyReader, limit: AbortSignal) {
    let connection: AnswerClient<A> | undefined;
    for (let next = 0; next < count && !reader.dry; ) {
      const current = connection ?? (await connections.take(limit));
      const burst = connections.burst(count - next);
      const requests = Array.from({ length: burst }, (_, i) =>
        dialect.getKey(handle, first + BigInt(next + i)),
      );
      try {
        await endingAt(limit, current, () => readBurst(dialect, current, requests, reader));
      } catch (error) {
        current.destroy();
        connections.lost(current);
        if (burst > 1) learning.lostAnswers();
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
      const byKsid = join !== '' && (settings.join !== 'uris' || !dialect.pairsByUris);
      let answer = await openConnect(stream, keyBytes, byKsid ? join : '', limit);
      // A key manager that cannot join by KSID pairs the two ends by their URIs.
      if (byKsid && dialect.pairsByUris && settings.join === 'auto' && !isOpen(answer)) {
        answer = await openConnect(stream, keyBytes, '', limit);
      }
      if (!isOpen(answer)) {
        if (answer.status === ETSI004_STATUS.QOS_NOT_MET) learning.refusedBlock(keyBytes);
        throw unavailable(`the key manager refuses OPEN_CONNECT with status ${answer.status}`);
      }
      const given = answer.chunkBytes ?? keyBytes;
      const { handle } = answer;
      if (given !== keyBytes) {
        learning.refusedBlock(keyBytes);
        await close(handle, limit);
        throw unavailable(`the key manager does not give keys of ${keyBytes} bytes`);
      }
      if (handle.length > MAX_HANDLE_CHARS) {
        await close(handle, limit);
        throw unavailable(`the key manager names its streams with more than ${MAX_HANDLE_CHARS} characters`);
      }
      return handle;
    },

    async fetch(handle, first, count, keyBytes, signal) {
      const limit = limitOf(signal);
      // Nothing is held for a fetch that waits for its turn.
      return connections.inTurn(limit, async () => {
        const keys = ownMemory(count * keyBytes);
        const reader = new KeyReader(keys, keyBytes, first);
        try {
          await read(handle, first, count, reader, limit);
          return keys.subarray(0, reader.count * keyBytes);
        } catch (cause) {
          wipe(keys);
          if (reader.misfit) learning.refusedBlock(keyBytes);
          throw reader.failure(cause);
        }
      });
    },

    close: (handle, signal) => close(handle, limitOf(signal)),

    get blockBytes() {
      return learning.blockBytes;
    },

    learn: (between) => learning.learn(between),

    stop: () => connections.stop(),
  };
}

/** Sends the requests together and takes their answers in order. */
async function readBurst<A>(
  dialect: Etsi004Dialect<A>,
  connection: AnswerClient<A>,
  requests: readonly Buffer[],
  reader: KeyReader,
): Promise<void> {
  for (const _ of requests) reader.sent();
  const answers = connection.requestTogether(requests);
  try {
    for (const answer of answers) reader.accept(dialect.read(await answer));
  } catch (error) {
    // What follows cannot be used any more; what has come is wiped.
    connection.destroy();
    for (const result of await Promise.allSettled(answers)) {
      if (result.status === 'fulfilled') wipeUnread(dialect, result.value);
    }
    throw error;
  }
}

/** What is no answer holds no key. */
function wipeUnread<A>(dialect: Etsi004Dialect<A>, answer: A): void {
  try {
    wipeAnswer(dialect.read(answer));
  } catch {
    // Nothing to wipe.
  }
}

/** Names the stream, so that a key manager which pairs by URIs cannot mix two up. */
function nameOf({ keyStreamId, epoch }: QkdStreamName): string {
  return `keyweave-${keyStreamId}${epoch === 0 ? '' : `-${epoch}`}`;
}

function unavailable(detail: string, cause?: unknown): KeyweaveError {
  return new KeyweaveError('QKD_UNAVAILABLE', detail, { cause });
}

/** Ends the connection, and with it the wait, when the signal fires. */
async function endingAt<T>(
  signal: AbortSignal,
  connection: Pick<AnswerClient<unknown>, 'destroy'>,
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
