import type { NodeConfig } from '#common/config/node-config.ts';
import { type JsonFrame, JsonFramer } from '#common/etsi/json-framer.ts';
import type { KeyDelivery } from '../../delivery/key-delivery.ts';
import type { Fault } from '../fault.ts';
import type { Connection } from '../listener.ts';
import {
  type Dialect,
  type RequestClient,
  type RequestConnectionOptions,
  serveRequests,
} from '../request-connection.ts';
import { errorAnswer } from './answers.ts';
import { JsonCalls, type JsonCallsOptions } from './calls.ts';
import { HalfClosedClient } from './half-closed-client.ts';

export interface JsonClientOptions
  extends Pick<RequestConnectionOptions<JsonFrame>, 'accepted' | 'turns' | 'log' | 'refusals'> {
  readonly delivery: KeyDelivery;
  readonly settings: JsonCallsOptions['settings'];
  readonly limits: RequestConnectionOptions<JsonFrame>['limits'] &
    Pick<NodeConfig['limits'], 'max_request_bytes'>;
}

const INCOMPLETE: Fault = {
  reason: 'BAD_REQUEST',
  detail: 'Invalid JSON received: the request is incomplete',
};

/** Serves one connection of the JSON dialect; what cannot be read gets a status and a message. */
export function serveJsonClient(options: JsonClientOptions): Connection {
  return serveRequests<JsonFrame>({ ...options, speak: (client) => jsonDialect(options, client) });
}

function jsonDialect(options: JsonClientOptions, { socket, ...client }: RequestClient): Dialect<JsonFrame> {
  const { max_request_bytes: maxBytes } = options.limits;
  const halfClosed = new HalfClosedClient(socket);
  const calls = new JsonCalls({
    ...options,
    client: { ...client, stillReads: () => halfClosed.stillReads() },
  });
  return {
    framer: new JsonFramer({ maxBytes }),
    faultOf: (frame) => (Buffer.isBuffer(frame) ? undefined : frameFault(frame.error, maxBytes)),
    answerTo: (frame) => calls.answerTo(frame as Buffer),
    lastAnswer: errorAnswer,
    incomplete: INCOMPLETE,
    watch: () => halfClosed.watch(),
    unwatch: () => halfClosed.unwatch(),
  };
}

function frameFault(error: 'too-large' | 'not-json', maxBytes: number): Fault {
  return error === 'too-large'
    ? { reason: 'LIMIT_EXCEEDED', detail: `a request may have ${maxBytes} bytes at most` }
    : { reason: 'BAD_REQUEST', detail: 'Invalid JSON received' };
}
