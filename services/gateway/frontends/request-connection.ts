import type { Socket } from 'node:net';
import type { NodeConfig } from '#common/config/node-config.ts';
import type { LimitedLog } from '#common/log/limited-log.ts';
import type { Log } from '#common/log/log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import type { Owner } from '../streams/owner.ts';
import type { FairTurns } from './fair-turns.ts';
import type { Fault } from './fault.ts';
import { goneSignal } from './gone-signal.ts';
import type { Accepted, Connection } from './listener.ts';
import { type Framer, RequestInbox } from './request-inbox.ts';

/** The client of a connection, as those who answer it see it. */
export interface RequestClient {
  readonly owner: Owner;
  readonly socket: Socket;
  /** Fires when its connection has gone, in that very turn. */
  readonly gone: AbortSignal;
  /** Fires when it may have gone: it has closed its sending side at least. */
  readonly silent: AbortSignal;
}

/** What the requests of a protocol are, and what answers them: one for each connection. */
export interface Dialect<F> {
  readonly framer: Framer<F>;
  /** Why nothing behind this request can be read; undefined for one that can be answered. */
  faultOf(request: F): Fault | undefined;
  /**
   * The answer to a request: at once where it can be, since most can and every
   * key would pay for the turn; none where the protocol has none. Never throws
   * nor rejects. Whoever sends it wipes it.
   */
  answerTo(request: F): Buffer | Promise<Buffer> | undefined;
  /** The last answer of a connection that cannot go on, to the request where there is a whole one; none where the protocol has none. */
  lastAnswer(fault: Fault, request?: F): Buffer | undefined;
  /** What is wrong with a request that the client has not ended before it closed its sending side. */
  readonly incomplete: Fault;
  /** Looks whether a client that cannot be heard is there still, as far as the protocol lets one, until `unwatch`. */
  watch(): void;
  unwatch(): void;
}

export interface RequestConnectionOptions<F> {
  readonly accepted: Accepted;
  readonly limits: Pick<NodeConfig['limits'], 'idle_timeout' | 'request_timeout' | 'write_timeout'>;
  /** Shared by all connections, so that none has more of the event loop than the others. */
  readonly turns: Pick<FairTurns, 'add' | 'remove'>;
  readonly log: Log;
  /** Lines about what clients do wrong, limited for each. */
  readonly refusals: Pick<LimitedLog, 'line'>;
  /** Who answers this client. */
  speak(client: RequestClient): Dialect<F>;
}

/** Requests of one connection that are served before others have their turn. */
const REQUESTS_A_GO = 8;

/** What may lie behind a request that waits before the connection is no longer read; one read may come on top. */
const MAX_BEHIND_BYTES = 4_096;

/** What is read and thrown away of a connection that this end has closed, so that its last answer is not lost. */
const MAX_IGNORED_BYTES = 32 * 1024 * 1024;

/**
 * Serves one connection: requests are answered in order, one at a time; what
 * cannot be read gets a status and a message. A client that is idle, slow,
 * silent or does not read holds nothing but its own connection, and of that no
 * more than an unfinished request, a read and the socket's buffer of answers.
 */
export function serveRequests<F>(options: RequestConnectionOptions<F>): Connection {
  const { accepted, limits, turns, log, refusals } = options;
  /** Fires when the client may have gone: it has closed its sending side at least. */
  const silent = new AbortController();
  /** A request has been taken and its answer is not there yet. */
  let waiting = false;
  /** Answers lie here because the client does not read them. */
  let unread = false;
  /** No more is read: the client has closed its sending side, or the gateway stops. */
  let last = false;
  /** This end is closed. */
  let over = false;
  let ignoredBytes = 0;
  let requestTimer: NodeJS.Timeout | undefined;
  let closeTimer: NodeJS.Timeout | undefined;
  const socket = accepted.open(receive);
  const gone = goneSignal(socket);
  const dialect = options.speak({ owner: accepted.owner, socket, gone, silent: silent.signal });
  const inbox = new RequestInbox(dialect.framer);

  socket.setTimeout(limits.idle_timeout);
  socket.on('timeout', () => {
    if (unread || !waiting) socket.destroy();
  });
  socket.on('error', (error) => log.debug('a client connection failed', {}, error));
  socket.on('drain', () => {
    unread = false;
    socket.setTimeout(limits.idle_timeout);
    go();
  });
  socket.once('end', () => {
    last = true;
    if (waiting) dialect.watch();
    silent.abort();
    go();
  });
  gone.addEventListener('abort', () => {
    over = true;
    silent.abort();
  });
  socket.once('close', () => {
    dialect.unwatch();
    clearTimeout(requestTimer);
    clearTimeout(closeTimer);
    turns.remove(go);
    inbox.stop();
  });

  function receive(data: Buffer): void {
    if (over || last) {
      ignoredBytes += data.length;
      if (ignoredBytes > MAX_IGNORED_BYTES) socket.destroy();
      return;
    }
    inbox.lend(data);
    serve();
    inbox.keep();
    heed();
  }

  function go(): void {
    serve();
    heed();
  }

  /** Serves what has come, as far as it may now. */
  function serve(): void {
    for (let left = REQUESTS_A_GO; left > 0 && mayServe() && inbox.behind > 0; left--) {
      const frame = inbox.next();
      if (frame === undefined) continue;
      unwatchUnfinished();
      take(frame);
    }
    if (!mayServe()) return;
    if (inbox.behind > 0) turns.add(go);
    else if (!last) watchUnfinished();
    else if (inbox.unfinished > 0 && silent.signal.aborted) {
      refuse(dialect.incomplete);
    } else end();
  }

  function mayServe(): boolean {
    return !waiting && !unread && !over;
  }

  /** Reads on only while there is room for what comes; what is not read, the client cannot send. */
  function heed(): void {
    const read = over || (!unread && inbox.behind <= (waiting ? MAX_BEHIND_BYTES : 0));
    if (read !== socket.isPaused()) return;
    if (read) socket.resume();
    else {
      socket.pause();
      // It cannot be heard going away now.
      if (waiting) dialect.watch();
    }
  }

  /** A request may take its time only from its first byte to its last. */
  function watchUnfinished(): void {
    if (inbox.unfinished === 0) unwatchUnfinished();
    else if (requestTimer === undefined) {
      requestTimer = setTimeout(() => {
        refuse({ reason: 'TIMEOUT', detail: 'the request was not complete in time' });
      }, limits.request_timeout);
    }
  }

  /** It is whole, however long its answer takes. */
  function unwatchUnfinished(): void {
    clearTimeout(requestTimer);
    requestTimer = undefined;
  }

  function take(frame: F): void {
    const fault = dialect.faultOf(frame);
    if (fault !== undefined) {
      // Where requests begin and end is not known any more: nothing behind it can be answered.
      refuse(fault, frame);
      return;
    }
    const answer = dialect.answerTo(frame);
    if (answer instanceof Promise) void sendLate(answer);
    else if (answer !== undefined) send(answer);
  }

  async function sendLate(coming: Promise<Buffer>): Promise<void> {
    waiting = true;
    if (silent.signal.aborted) dialect.watch();
    const answer = await coming;
    waiting = false;
    dialect.unwatch();
    if (socket.destroyed) answer.fill(0);
    else send(answer);
    go();
  }

  function send(answer: Buffer): void {
    if (socket.write(answer, () => answer.fill(0))) return;
    unread = true;
    // Starts anew whenever the client reads some of it.
    socket.setTimeout(limits.write_timeout);
  }

  /** Answers the last request of a connection that cannot go on. */
  function refuse(fault: Fault, frame?: F): void {
    const { address } = accepted.owner;
    const fields = { client: address, reason: fault.reason, detail: fault.detail };
    refusals.line(clientNetwork(address), 'info', 'a connection was ended', fields);
    const answer = dialect.lastAnswer(fault, frame);
    if (answer !== undefined) send(answer);
    end();
    heed();
  }

  function end(): void {
    over = true;
    clearTimeout(requestTimer);
    inbox.stop();
    socket.end();
    closeTimer = setTimeout(() => socket.destroy(), limits.write_timeout).unref();
  }

  return {
    socket,
    finish: () => {
      last = true;
      go();
    },
  };
}
