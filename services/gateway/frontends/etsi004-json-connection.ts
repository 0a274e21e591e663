import type { Socket } from 'node:net';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';
import type { Log } from '#common/log/log.ts';
import type { Chunk } from '../key-streams/chunk-buffer.ts';
import type { KeyDelivery } from '../key-streams/key-delivery.ts';
import type { KeyStream } from '../key-streams/key-stream.ts';
import {
  chunkMetadata,
  closeAnswer,
  errorAnswer,
  keyAnswer,
  metadataTooSmallAnswer,
  openAnswer,
} from './etsi004-json-answers.ts';
import { type JsonRequest, parseJsonRequest } from './etsi004-json-requests.ts';

export interface JsonConnectionOptions {
  /** Makes the connection's socket, which hands what it reads to `receive`. */
  socket: (receive: (data: Buffer) => void) => Socket;
  delivery: KeyDelivery;
  limits: NodeConfig['limits'];
  presence: 'app' | 'node';
  log: Log;
}

/** Requests that a client may send ahead before its connection is no longer read. */
const MAX_PIPELINED = 64;

export interface JsonConnection {
  readonly socket: Socket;
  /** Answers what has come and closes. */
  finish(): void;
}

class MetadataTooSmall extends Error {
  readonly neededBytes: number;
  constructor(neededBytes: number) {
    super('metadata room too small');
    this.neededBytes = neededBytes;
  }
}

/**
 * Serves one connection: requests are answered in order, one at a time; what
 * cannot be read gets a status and a message. A client that is idle, slow or
 * silent holds nothing but its own connection.
 */
export function serveJsonConnection(options: JsonConnectionOptions): JsonConnection {
  const { delivery, limits, log } = options;
  const framer = new JsonFramer({ maxBytes: limits.max_request_bytes });
  const queue: (Buffer | KeyweaveError)[] = [];
  const gone = new AbortController();
  let busy = false;
  let ending = false;
  let requestTimer: NodeJS.Timeout | undefined;
  const socket = options.socket(receive);

  socket.setTimeout(limits.idle_timeout, () => {
    if (!busy) socket.destroy();
  });
  socket.on('error', (error) => log.debug('a client connection failed', {}, error));
  socket.once('close', () => {
    gone.abort();
    clearTimeout(requestTimer);
    queue.length = 0;
  });
  socket.once('end', () => {
    if (framer.pending > 0)
      queue.push(new KeyweaveError('BAD_REQUEST', 'Invalid JSON received: the request is incomplete'));
    ending = true;
    clearTimeout(requestTimer);
    void drain();
  });

  function receive(data: Buffer): void {
    if (ending) return;
    const before = queue.length;
    for (const frame of framer.push(data))
      queue.push(Buffer.isBuffer(frame) ? frame : frameError(frame.error, limits));
    watchUnfinished();
    if (queue.length > MAX_PIPELINED) socket.pause();
    const taken = queue.length;
    void drain();
    // What has to wait must not lie in the socket's buffer, which will be read into again.
    for (let i = Math.max(0, before - (taken - queue.length)); i < queue.length; i++) {
      const item = queue[i];
      if (Buffer.isBuffer(item)) queue[i] = Buffer.from(item);
    }
  }

  /** A request may take its time only from its first byte to its last. */
  function watchUnfinished(): void {
    if (framer.pending === 0) {
      clearTimeout(requestTimer);
      requestTimer = undefined;
    } else if (requestTimer === undefined) {
      requestTimer = setTimeout(() => {
        queue.push(new KeyweaveError('TIMEOUT', 'the request was not complete in time'));
        ending = true;
        void drain();
      }, limits.request_timeout);
    }
  }

  async function drain(): Promise<void> {
    if (busy) return;
    busy = true;
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      // Awaited only where it has to be: most answers are ready, and every key would pay for the turn.
      const ready = item instanceof KeyweaveError ? errorAnswer(item) : answerTo(item);
      const answer = Buffer.isBuffer(ready) ? ready : await ready;
      if (socket.destroyed) {
        answer.fill(0);
        break;
      }
      socket.write(answer, () => answer.fill(0));
      if (item instanceof KeyweaveError && item.reason === 'LIMIT_EXCEEDED') ending = true;
      if (queue.length === 0 && socket.isPaused()) socket.resume();
    }
    busy = false;
    if (ending && !socket.destroyed) socket.end();
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
    if (thrown instanceof MetadataTooSmall) return metadataTooSmallAnswer(thrown.neededBytes);
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
        return getKey(request.keyStreamId, request.index, request.metadataRoom);
      case 'CLOSE':
        delivery.close(request.keyStreamId);
        return closeAnswer();
    }
  }

  function getKey(
    keyStreamId: string,
    index: number | undefined,
    room: number | undefined,
  ): Buffer | Promise<Buffer> {
    let metadata: string | undefined;
    const fits = (candidate: Chunk, stream: KeyStream) => {
      if (room === 0 || stream.qos.metadataMimetype === '') return;
      metadata = chunkMetadata(candidate, stream);
      if (room !== undefined && metadata.length > room) throw new MetadataTooSmall(metadata.length);
    };
    const answer = (chunk: Chunk) => {
      const bytes = keyAnswer(chunk, metadata);
      chunk.key.wipe();
      return bytes;
    };
    const chunk = delivery.getKey(keyStreamId, index, fits);
    return chunk instanceof Promise ? chunk.then(answer) : answer(chunk);
  }

  return {
    socket,
    finish: () => {
      ending = true;
      if (!busy) socket.end();
    },
  };
}

function frameError(error: string, limits: NodeConfig['limits']): KeyweaveError {
  return error === 'too-large'
    ? new KeyweaveError('LIMIT_EXCEEDED', `a request may have ${limits.max_request_bytes} bytes at most`)
    : new KeyweaveError('BAD_REQUEST', 'Invalid JSON received');
}
