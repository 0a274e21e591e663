import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { NamedKeys, QkdDriver } from './qkd-driver.ts';

/**
 * Tells the operator what goes on at the key manager: one warning when it
 * begins to fail, one line when it is back, everything else at debug. Says how
 * many keys there were, never which.
 */
export function loggedDriver(driver: QkdDriver, log: Log): QkdDriver {
  let failing = false;

  async function watched<T>(call: string, signal: AbortSignal, work: Promise<T>): Promise<T> {
    try {
      const result = await work;
      if (failing) log.info('the key manager answers again', { call });
      failing = false;
      return result;
    } catch (thrown) {
      const error = KeyweaveError.from(thrown);
      const fields = { call, reason: error.reason, detail: error.detail };
      if (signal.aborted) log.debug('a call was given up by its caller', fields, thrown);
      else if (failing) log.debug('the key manager still fails', fields, thrown);
      else log.warning('the key manager fails', fields, thrown);
      failing ||= !signal.aborted;
      throw thrown;
    }
  }

  const { named } = driver;
  const watchedNames: NamedKeys | undefined = named && {
    async take(handle, count, keyBytes, signal) {
      const taken = await watched('enc_keys', signal, named.take(handle, count, keyBytes, signal));
      log.debug('QKD keys were taken', { qkdKsid: handle, wanted: count, got: taken.names.length });
      return taken;
    },
    async find(handle, names, keyBytes, signal) {
      const keys = await watched('dec_keys', signal, named.find(handle, names, keyBytes, signal));
      log.debug('QKD keys were found', { qkdKsid: handle, got: names.length });
      return keys;
    },
  };

  return {
    ...(watchedNames && { named: watchedNames }),

    async open(stream, keyBytes, join, signal) {
      const handle = await watched('OPEN_CONNECT', signal, driver.open(stream, keyBytes, join, signal));
      const { keyStreamId: ksid, epoch } = stream;
      log.debug('a QKD stream was opened', { ksid, epoch, keyBytes, qkdKsid: handle, joined: join !== '' });
      return handle;
    },

    async fetch(handle, first, count, keyBytes, signal) {
      const keys = await watched('GET_KEY', signal, driver.fetch(handle, first, count, keyBytes, signal));
      const got = keys.length / keyBytes;
      const position = String(first);
      log.debug('QKD keys were read', { qkdKsid: handle, position, wanted: count, got });
      return keys;
    },

    async close(handle, signal) {
      await driver.close(handle, signal);
      log.debug('a QKD stream was closed', { qkdKsid: handle });
    },

    get blockBytes() {
      return driver.blockBytes;
    },

    learn: (between) => driver.learn(between),

    stop: () => driver.stop(),
  };
}
