import { type Socket, connect as tcpConnect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { AnswerClient } from '#common/etsi/answer-client.ts';
import { waitFor } from '#common/time/wait-for.ts';
import { assertUsable, tlsContext } from '../kme-tls.ts';
import { Slots } from '../slots.ts';
import type { Etsi004Dialect } from './etsi004-dialect.ts';
import { PipelineWindow } from './pipeline-window.ts';

/** Connections to one key manager at a time. */
const MAX_CONNECTIONS = 64;
const MAX_IDLE = 8;

/** Shorter than the idle limits of servers: what we drop ourselves cannot die under a request. */
const IDLE_MS = 4_000;

/** A key manager that closes after each answer does so within this. */
const CLOSE_PROBE_MS = 30;

interface Idle<A> {
  readonly connection: AnswerClient<A>;
  readonly timer: NodeJS.Timeout;
}

/**
 * Connections to a key manager: reused where it keeps them open, one per call
 * where it closes them, as the reference's does. Which of the two is learnt
 * from what it does unless the configuration says it.
 */
export class KmeConnections<A> {
  /** Requests that may go together on a connection that is known to carry several. */
  readonly window = new PipelineWindow();
  readonly #dialect: Pick<Etsi004Dialect<A>, 'connect'>;
  readonly #address: Address;
  readonly #settings: NodeConfig['qkd'];
  readonly #slots = new Slots(MAX_CONNECTIONS);
  readonly #idle: Idle<A>[] = [];
  readonly #open = new Set<AnswerClient<A>>();
  #reusable: boolean | undefined;
  /** Whether some connection has carried more than one answer. */
  #proven = false;
  #stopped = false;

  /** @throws KeyweaveError BAD_CONFIG when the TLS files are not usable. */
  constructor(dialect: Pick<Etsi004Dialect<A>, 'connect'>, address: Address, settings: NodeConfig['qkd']) {
    this.#dialect = dialect;
    this.#address = address;
    this.#settings = settings;
    if (settings.connection !== 'auto') this.#reusable = settings.connection === 'reuse';
    assertUsable(settings.tls);
  }

  /** Requests that may be sent together on `connection`. */
  burst(wanted: number): number {
    return this.#reusable && this.#proven ? Math.min(wanted, this.window.size) : 1;
  }

  /**
   * Runs `work`, which holds one connection at a time, in its turn.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE when the turn does not come before the signal.
   */
  inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#slots.run(signal, work).catch((error: unknown) => {
      if (error instanceof KeyweaveError || error !== signal.reason) throw error;
      throw new KeyweaveError('QKD_UNAVAILABLE', 'no connection to the key manager became free in time');
    });
  }

  /** An open connection for the caller alone, who gives it back or destroys it. @throws KeyweaveError QKD_UNAVAILABLE */
  async take(signal: AbortSignal): Promise<AnswerClient<A>> {
    for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) {
      clearTimeout(idle.timer);
      if (!idle.connection.closed) return idle.connection;
    }
    return this.fresh(signal);
  }

  /** A new connection, which no call in turn is given; the caller destroys it. @throws KeyweaveError QKD_UNAVAILABLE */
  async fresh(signal: AbortSignal): Promise<AnswerClient<A>> {
    const connection = this.#dialect.connect(await this.#connect(signal));
    this.#open.add(connection);
    void connection.whenClosed.then(() => this.#open.delete(connection));
    if (this.#stopped) connection.destroy();
    return connection;
  }

  /** After an answer: whether the connection may carry another request. Waits a moment while that is unknown. */
  async staysOpen(connection: AnswerClient<A>): Promise<boolean> {
    if (connection.answers > 1) this.#proven = true;
    if (this.#reusable === undefined) {
      await waitFor(connection.whenClosed, CLOSE_PROBE_MS);
      this.#reusable ??= !connection.closed;
    }
    return this.#reusable && !connection.closed;
  }

  /** Gives a connection back after its last answer. */
  giveBack(connection: AnswerClient<A>): void {
    void this.staysOpen(connection).then((open) => {
      if (!open || this.#stopped || this.#idle.length >= MAX_IDLE) return connection.destroy();
      const timer = setTimeout(() => connection.destroy(), IDLE_MS);
      timer.unref();
      this.#idle.push({ connection, timer });
    });
  }

  /**
   * Notes that a connection died under a request; true when it had carried
   * answers before and gave no byte of this one, as when the server closes
   * after each answer or has been restarted.
   */
  lost(connection: AnswerClient<A>): boolean {
    if (connection.answers === 0 || !connection.untouched) return false;
    if (this.#settings.connection === 'auto') {
      // Never more than one answer: it closes, only later than expected. Else it is learnt anew.
      this.#reusable = this.#proven ? undefined : false;
      this.#proven = false;
    }
    return true;
  }

  /** Ends all connections, at once and for good. */
  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#idle.splice(0)) clearTimeout(timer);
    for (const connection of this.#open) connection.destroy();
  }

  #connect(signal: AbortSignal): Promise<Socket> {
    const { host, port } = this.#address;
    return new Promise((resolve, reject) => {
      let socket: Socket | undefined;
      const fail = (cause: unknown) => {
        signal.removeEventListener('abort', onAbort);
        socket?.destroy();
        const detail = `the key manager at ${host}:${port} cannot be reached`;
        reject(new KeyweaveError('QKD_UNAVAILABLE', detail, { cause }));
      };
      const onAbort = () => fail(signal.reason);
      if (signal.aborted || this.#stopped) return onAbort();
      try {
        socket = this.#dial();
      } catch (error) {
        return fail(error);
      }
      const ready = socket;
      signal.addEventListener('abort', onAbort, { once: true });
      ready.once('error', fail);
      ready.once(this.#settings.tls ? 'secureConnect' : 'connect', () => {
        ready.off('error', fail);
        signal.removeEventListener('abort', onAbort);
        resolve(ready);
      });
    });
  }

  #dial(): Socket {
    const { tls } = this.#settings;
    if (!tls) return tcpConnect(this.#address);
    const name = tls.server_name === undefined ? {} : { servername: tls.server_name };
    // Read anew each time, so that renewed certificates need no restart.
    return tlsConnect({ ...this.#address, ...tlsContext(tls), ...name });
  }
}
