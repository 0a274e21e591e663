import type { Socket } from 'node:net';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeJson, type JsonFrame } from '#common/etsi/json-framer.ts';
import type { Log } from '#common/log/log.ts';
import { systemClock } from '#common/time/clock.ts';
import type { KeyDelivery } from '../../delivery/gateway-delivery.ts';
import { abandonedError, type Chunk } from '../../streams/chunk-buffer.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import type { FairTurns } from '../fair-turns.ts';
import { chunkMetadata, closeAnswer, errorAnswer, type Fault, keyAnswer, openAnswer } from './answers.ts';
import { HalfClosedClient } from './half-closed-client.ts';
import { RequestInbox } from './request-inbox.ts';
import { type JsonRequest, parseJsonRequest } from './requests.ts';

export interface JsonConnectionOptions {
  /** Makes the connection's socket, which hands what it reads to `receive`. */
  socket: (receive: (data: Buffer) => void) => Socket;
  delivery: Pick<KeyDelivery, 'open' | 'getKey' | 'close'>;
  limits: Pick<
    NodeConfig['limits'],
    'max_request_bytes' | 'idle_timeout' | 'request_timeout' | 'write_timeout'
  >;
  presence: 'app' | 'node';
  /** Shared by all connections, so that none has more of the event loop than the others. */
  turns: Pick<FairTurns, 'add' | 'remove'>;
  log: Log;
}

export interface JsonConnection {
  readonly socket: Socket;
  /** Answers what has come and closes. */
  finish(): void;
}

/** Requests of one connection that are served before others have their turn. */
const REQUESTS_A_GO = 8;

/** What may lie behind a request that waits before the connection is no longer read; one read may come on top. */
const MAX_BEHIND_BYTES = 4_096;

/** What is read and thrown away of a connection that this end has closed, so that its last answer is not lost. */
const MAX_IGNORED_BYTES = 32 * 1024 * 1024;

type GetKeyRequest = Extract<JsonRequest, { command: 'GET_KEY' }>;

/**
 * Serves one connection: requests are answered in order, one at a time; what
 * cannot be read gets a status and a message. A client that is idle, slow,
 * silent or does not read holds nothing but its own connection, and of that no
 * more than an unfinished request, a read and the socket's buffer of answers.
 */
export function serveJsonConnection(options: JsonConnectionOptions): JsonConnection {
  const { delivery, limits, turns, log } = options;
  const inbox = new RequestInbox(limits.max_request_bytes);
  /** Fires when the connection has gone. */
  const gone = new AbortController();
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
  const socket = options.socket(receive);
  const client = new HalfClosedClient(socket);

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
  socket.once('close', () => {
    over = true;
    silent.abort();
    gone.abort();
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
    const answer = answerTo(frame);
    // Awaited only where it has to be: most answers are ready, and every key would pay for the turn.
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
    log.info('a connection was ended', { reason: fault.reason, detail: fault.detail });
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

  function answerTo(text: Buffer): Buffer | Promise<Buffer> {
    try {
      const answer = execute(parseJsonRequest(decodeJson(text)));
      return Buffer.isBuffer(answer) ? answer : answer.catch(refusal);
    } catch (thrown) {
      return refusal(thrown);
    }
  }

  function refusal(thrown: unknown): Buffer {
    const error = KeyweaveError.from(thrown);
    if (error.reason === 'INTERNAL') log.error('a request failed unexpectedly', {}, thrown);
    else log.info('a request was refused', { reason: error.reason, detail: error.detail });
    return errorAnswer(error);
  }

  function execute(request: JsonRequest): Buffer | Promise<Buffer> {
    switch (request.command) {
      case 'OPEN_CONNECT': {
        const { source, destination, qos, keyStreamId } = request;
        const { presence } = options;
        return delivery
          .open({ source, destination, qos, keyStreamId, presence, signal: gone.signal })
          .then(openAnswer);
      }
      case 'GET_KEY':
        return getKey(request);
      case 'CLOSE':
        delivery.close(request.keyStreamId);
        return closeAnswer();
    }
  }

  function getKey(request: GetKeyRequest): Buffer | Promise<Buffer> {
    if (silent.signal.aborted) return getKeyUnheard(request, 0);
    const answer = askForKey(request, silent.signal, 0);
    if (Buffer.isBuffer(answer)) return answer;
    const began = systemClock.monotonicMs();
    return answer.catch((thrown) => {
      if (!silent.signal.aborted || over) throw thrown;
      return getKeyUnheard(request, systemClock.monotonicMs() - began);
    });
  }

  /** For a client that has closed its sending side: a key is taken only for one that is sure to read. */
  async function getKeyUnheard(request: GetKeyRequest, waitedMs: number): Promise<Buffer> {
    const began = systemClock.monotonicMs();
    if (!(await client.stillReads())) throw abandonedError();
    return askForKey(request, gone.signal, waitedMs + systemClock.monotonicMs() - began);
  }

  function askForKey(
    { keyStreamId, index, metadataRoom = Number.POSITIVE_INFINITY }: GetKeyRequest,
    signal: AbortSignal,
    waitedMs: number,
  ): Buffer | Promise<Buffer> {
    let metadata: string | undefined;
    const fits = (candidate: Chunk, stream: KeyStream) => {
      // A key that was waited for stays where it is once there is nobody to send it to.
      if (socket.destroyed) throw abandonedError();
      if (stream.qos.metadataMimetype === '') return;
      metadata = chunkMetadata(candidate, stream, metadataRoom);
    };
    const encoded = (chunk: Chunk) => {
      const answer = keyAnswer(chunk, metadata);
      chunk.key.wipe();
      return answer;
    };
    const chunk = delivery.getKey({ keyStreamId, index, signal, waitedMs }, fits);
    return chunk instanceof Promise ? chunk.then(encoded) : encoded(chunk);
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
