import { readFileSync } from 'node:fs';
import { type Socket, connect as tcpConnect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { JsonConnection } from '#common/etsi/json-connection.ts';

/** Connections to one key manager at a time. */
const MAX_CONNECTIONS = 64;
const MAX_IDLE = 8;

/** A key manager that closes after each answer does so within this. */
const CLOSE_PROBE_MS = 30;

/**
 * Connections to a key manager: reused where it keeps them open, one per call
 * where it closes them, as the reference's does. Which of the two is learnt
 * from the first answer unless the configuration says it.
 */
export class KmeConnections {
  readonly #address: Address;
  readonly #settings: NodeConfig['qkd'];
  readonly #idle: JsonConnection[] = [];
  readonly #all = new Set<JsonConnection>();
  #reusable: boolean | undefined;

  constructor(address: Address, settings: NodeConfig['qkd']) {
    this.#address = address;
    this.#settings = settings;
    if (settings.connection !== 'auto') this.#reusable = settings.connection === 'reuse';
  }

  /** Whether the key manager is known to answer several requests on one connection. */
  get reusable(): boolean {
    return this.#reusable === true;
  }

  /** An open connection for the caller alone. @throws KeyweaveError QKD_UNAVAILABLE, LIMIT_EXCEEDED */
  async take(signal: AbortSignal): Promise<JsonConnection> {
    for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) if (!idle.closed) return idle;
    if (this.#all.size >= MAX_CONNECTIONS) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `all ${MAX_CONNECTIONS} connections to the key manager are busy`,
      );
    }
    const socket = await this.#connect(signal);
    const connection: JsonConnection = new JsonConnection(socket, () => this.#all.delete(connection));
    this.#all.add(connection);
    return connection;
  }

  /** Notes, after an answer, whether the key manager keeps the connection; true when it may be used again. */
  async settle(connection: JsonConnection): Promise<boolean> {
    if (this.#reusable === undefined) {
      await delay(CLOSE_PROBE_MS);
      this.#reusable = !connection.closed;
    }
    return this.#reusable && !connection.closed;
  }

  /** Gives a connection back after its last answer. */
  give(connection: JsonConnection): void {
    if (connection.closed) return;
    if (this.#reusable && this.#idle.length < MAX_IDLE) this.#idle.push(connection);
    else connection.destroy();
  }

  stop(): void {
    for (const connection of this.#all) connection.destroy();
    this.#idle.length = 0;
  }

  #connect(signal: AbortSignal): Promise<Socket> {
    const { host, port } = this.#address;
    return new Promise((resolve, reject) => {
      const { tls } = this.#settings;
      const socket = tls
        ? tlsConnect({
            host,
            port,
            minVersion: 'TLSv1.2',
            ca: readFileSync(tls.ca_path),
            ...(tls.cert_path === undefined ? {} : { cert: readFileSync(tls.cert_path) }),
            ...(tls.key_path === undefined ? {} : { key: readFileSync(tls.key_path) }),
            ...(tls.server_name === undefined ? {} : { servername: tls.server_name }),
          })
        : tcpConnect({ host, port });
      const fail = (cause: unknown) => {
        signal.removeEventListener('abort', onAbort);
        socket.destroy();
        reject(
          new KeyweaveError('QKD_UNAVAILABLE', `the key manager at ${host}:${port} cannot be reached`, {
            cause,
          }),
        );
      };
      const onAbort = () => fail(signal.reason);
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      socket.once('error', fail);
      socket.once(tls ? 'secureConnect' : 'connect', () => {
        socket.off('error', fail);
        signal.removeEventListener('abort', onAbort);
        resolve(socket);
      });
    });
  }
}
