import type { NodeConfig } from '#common/config/node-config.ts';
import type { JsonFrame } from '#common/etsi/json-framer.ts';
import type { LimitedLog } from '#common/log/limited-log.ts';
import type { Log } from '#common/log/log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import type { KeyDelivery } from '../../delivery/key-delivery.ts';
import type { FairTurns } from '../fair-turns.ts';
import { goneSignal } from '../gone-signal.ts';
import type { Accepted, Connection } from '../listener.ts';
import { errorAnswer, type Fault } from './answers.ts';
import { JsonCalls, type JsonCallsOptions } from './calls.ts';
import { HalfClosedClient } from './half-closed-client.ts';
import { RequestInbox } from './request-inbox.ts';

export interface JsonClientOptions {
  readonly accepted: Accepted;
  readonly delivery: KeyDelivery;
  readonly settings: JsonCallsOptions['settings'];
  readonly limits: Pick<
    NodeConfig['limits'],
    'max_request_bytes' | 'idle_timeout' | 'request_timeout' | 'write_timeout'
  >;
  /** Shared by all connections, so that none has more of the event loop than the others. */
  readonly turns: Pick<FairTurns, 'add' | 'remove'>;
  readonly log: Log;
  /** Lines about what clients do wrong, limited for each. */
  readonly refusals: Pick<LimitedLog, 'line'>;
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
export function serveJsonClient(options: JsonClientOptions): Connection {
  const { accepted, limits, turns, log, refusals } = options;
  const inbox = new RequestInbox(limits.max_request_bytes);
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
  const client = new HalfClosedClient(socket);
  const calls = new JsonCalls({
    ...options,
    client: {
      ...{ owner: accepted.owner, gone, silent: silent.signal },
      stillReads: () => client.stillReads(),
    },
  });

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
    if (waiting) client.watch();
    silent.abort();
    go();
  });
  gone.addEventListener('abort', () => {
    over = true;
    silent.abort();
  });
  socket.once('close', () => {
    client.unwatch();
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
      if (frame !== undefined) take(frame);
    }
    if (!mayServe()) return;
    if (inbox.behind > 0) turns.add(go);
    else if (!last) watchUnfinished();
    else if (inbox.unfinished > 0 && silent.signal.aborted) {
      refuse({ reason: 'BAD_REQUEST', detail: 'Invalid JSON received: the request is incomplete' });
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
      if (waiting) client.watch();
    }
  }

  /** A request may take its time only from its first byte to its last. */
  function watchUnfinished(): void {
    if (inbox.unfinished === 0) {
      clearTimeout(requestTimer);
      requestTimer = undefined;
    } else if (requestTimer === undefined) {
      requestTimer = setTimeout(() => {
        refuse({ reason: 'TIMEOUT', detail: 'the request was not complete in time' });
      }, limits.request_timeout);
    }
  }

  function take(frame: JsonFrame): void {
    if (!Buffer.isBuffer(frame)) {
      // Where requests begin and end is not known any more: nothing behind it can be answered.
      refuse(frameFault(frame.error, limits.max_request_bytes));
      return;
    }
    const answer = calls.answerTo(frame);
    if (Buffer.isBuffer(answer)) send(answer);
    else void sendLate(answer);
  }

  async function sendLate(coming: Promise<Buffer>): Promise<void> {
    waiting = true;
    if (silent.signal.aborted) client.watch();
    const answer = await coming;
    waiting = false;
    client.unwatch();
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
  function refuse(fault: Fault): void {
    const { address } = accepted.owner;
    const fields = { client: address, reason: fault.reason, detail: fault.detail };
    refusals.line(clientNetwork(address), 'info', 'a connection was ended', fields);
    send(errorAnswer(fault));
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

function frameFault(error: 'too-large' | 'not-json', maxBytes: number): Fault {
  return error === 'too-large'
    ? { reason: 'LIMIT_EXCEEDED', detail: `a request may have ${maxBytes} bytes at most` }
    : { reason: 'BAD_REQUEST', detail: 'Invalid JSON received' };
}
