import type { TLSSocket } from 'node:tls';
import { watchFiles } from '#common/config/watch-files.ts';
import { readPsk } from '#common/crypto/psk-file.ts';
import type { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { SkipSettings } from './requests.ts';

type PskSettings = NonNullable<SkipSettings['psk']>;

/**
 * Clients that show a pre-shared key in place of a certificate. The files are
 * read again when they change: connections of a key that is another one then
 * end. One that cannot be read leaves the last in use.
 */
export class PskClients {
  readonly #settings: PskSettings;
  readonly #log: Pick<Log, 'info' | 'warning'>;
  readonly #keys = new Map<string, Secret>();
  /** What each handshake has named last. */
  readonly #named = new WeakMap<TLSSocket, string>();
  /** Connections that are open, by identity. */
  readonly #open = new Map<TLSSocket, string>();
  readonly #files: { close(): void };

  /** @throws KeyweaveError BAD_CONFIG naming the file that holds no key. */
  constructor(settings: PskSettings, log: Pick<Log, 'info' | 'warning'>, pollMs?: number) {
    this.#settings = settings;
    this.#log = log;
    const paths = Object.values(settings.identities).map(({ path }) => path);
    this.#files = watchFiles(paths, (again) => this.#reload(again), pollMs);
    try {
      for (const [identity, { path }] of Object.entries(settings.identities)) {
        this.#keys.set(identity, read(path));
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Key of an identity, lent, for the handshake of a connection (option `pskCallback` of Node's TLS servers). */
  readonly keyOf = (socket: TLSSocket, identity: string): Buffer | null => {
    const key = this.#keys.get(identity);
    if (key) this.#named.set(socket, identity);
    else this.#named.delete(socket);
    return key?.expose() ?? null;
  };

  /**
   * Keeps watch over a connection whose handshake is over; gives whether a
   * pre-shared key made it. That one was named does not count: a client may
   * name one that it does not have, and the handshake go on without.
   */
  add(socket: TLSSocket): boolean {
    const identity = this.#named.get(socket);
    if (identity === undefined || !isMadeByPsk(socket)) {
      this.#named.delete(socket);
      return false;
    }
    this.#open.set(socket, identity);
    socket.once('close', () => this.#open.delete(socket));
    return true;
  }

  /** The system ID that the key of a connection is for. */
  systemOf(socket: TLSSocket): string | undefined {
    const identity = this.#open.get(socket);
    if (identity === undefined) return undefined;
    return this.#settings.identities[identity]?.system ?? identity;
  }

  close(): void {
    this.#files.close();
    for (const key of this.#keys.values()) key.wipe();
    this.#keys.clear();
  }

  #reload(again: boolean): boolean {
    let isUsable = true;
    for (const [identity, { path }] of Object.entries(this.#settings.identities)) {
      try {
        this.#replace(identity, read(path));
      } catch (error) {
        isUsable = false;
        if (again)
          this.#log.warning('a new pre-shared key is not usable, the old one stays', { path }, error);
      }
    }
    return isUsable;
  }

  #replace(identity: string, key: Secret): void {
    const old = this.#keys.get(identity);
    if (old?.expose().equals(key.expose())) {
      key.wipe();
      return;
    }
    this.#keys.set(identity, key);
    old?.wipe();
    this.#log.info('a pre-shared key was replaced', { identity });
    for (const [socket, each] of this.#open) if (each === identity) socket.destroy();
  }
}

/**
 * Of TLS 1.2 the suite says it. Of 1.3 every connection that goes on from a
 * secret is one, since this server lets no session be resumed.
 */
function isMadeByPsk(socket: TLSSocket): boolean {
  if (socket.getPeerX509Certificate()) return false;
  if (socket.getProtocol() === 'TLSv1.3') return socket.isSessionReused();
  return socket.getCipher().standardName.includes('_PSK_');
}

function read(path: string): Secret {
  try {
    return readPsk(path);
  } catch (cause) {
    if (cause instanceof KeyweaveError) throw cause;
    const detail = `${path}: cannot be read: ${(cause as Error).message}`;
    throw new KeyweaveError('BAD_CONFIG', detail, { cause });
  }
}
