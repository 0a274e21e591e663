import type { Socket } from 'node:net';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';
import type { Log } from '#common/log/log.ts';
import type { KeyDelivery } from '../key-streams/key-delivery.ts';
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
  socket: Socket;
  delivery: KeyDelivery;
  limits: NodeConfig['limits'];
  presence: 'app' | 'node';
  log: Log;
}

/** Requests that a client may send ahead before its connection is no longer read. */
const MAX_PIPELINED = 64;

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
export function serveJsonConnection(options: JsonConnectionOptions): { finish: () => void } {
  const { socket, delivery, limits, log } = options;
  const framer = new JsonFramer({ maxBytes: limits.max_request_bytes });
  const queue: (Buffer | KeyweaveError)[] = [];
  const gone = new AbortController();
  let busy = false;
  let ending = false;
  let requestTimer: NodeJS.Timeout | undefined;

  socket.setTimeout(limits.idle_timeout, () => {
    if (!busy) socket.destroy();
  });
  socket.on('error', (error) => log.debug('a client connection failed', {}, error));
  socket.once('close', () => {
    gone.abort();
    clearTimeout(requestTimer);
    queue.length = 0;
  });
  socket.on('data', (data: Buffer) => {
    if (ending) return;
    for (const frame of framer.push(data))
      queue.push(Buffer.isBuffer(frame) ? frame : frameError(frame.error, limits));
    watchUnfinished();
    if (queue.length > MAX_PIPELINED) socket.pause();
    void drain();
  });
  socket.once('end', () => {
    if (framer.pending > 0)
      queue.push(new KeyweaveError('BAD_REQUEST', 'Invalid JSON received: the request is incomplete'));
    ending = true;
    clearTimeout(requestTimer);
    void drain();
  });

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
      const answer = item instanceof KeyweaveError ? errorAnswer(item) : await answerTo(item);
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

  async function answerTo(text: Buffer): Promise<Buffer> {
    try {
      return await execute(parseJsonRequest(decodeJson(text)));
    } catch (thrown) {
      if (thrown instanceof MetadataTooSmall) return metadataTooSmallAnswer(thrown.neededBytes);
      const error = KeyweaveError.from(thrown);
      if (error.reason === 'INTERNAL') log.error('a request failed unexpectedly', {}, thrown);
      else log.info('a request was refused', { reason: error.reason, detail: error.detail });
      return errorAnswer(error);
    }
  }

  async function execute(request: JsonRequest): Promise<Buffer> {
    switch (request.command) {
      case 'OPEN_CONNECT': {
        const { source, destination, qos, keyStreamId } = request;
        return openAnswer(
          await delivery.open({
            source,
            destination,
            qos,
            keyStreamId,
            presence: options.presence,
            signal: gone.signal,
          }),
        );
      }
      case 'GET_KEY': {
        let metadata: string | undefined;
        const chunk = await delivery.getKey(request.keyStreamId, request.index, (candidate, stream) => {
          if (request.metadataRoom === 0) return;
          metadata = chunkMetadata(candidate, stream, Date.now());
          if (request.metadataRoom !== undefined && metadata.length > request.metadataRoom) {
            throw new MetadataTooSmall(metadata.length);
          }
        });
        const answer = keyAnswer(chunk, metadata);
        chunk.key.fill(0);
        return answer;
      }
      case 'CLOSE':
        delivery.close(request.keyStreamId);
        return closeAnswer();
    }
  }

  return {
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
