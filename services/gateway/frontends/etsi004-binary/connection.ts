import type { NodeConfig } from '#common/config/node-config.ts';
import { type BinaryFrame, BinaryFramer } from '#common/etsi/etsi004-binary-framer.ts';
import type { Fault } from '../fault.ts';
import type { Connection } from '../listener.ts';
import {
  type Dialect,
  type RequestClient,
  type RequestConnectionOptions,
  serveRequests,
} from '../request-connection.ts';
import { BinaryCalls, type BinaryCallsOptions } from './calls.ts';

export interface BinaryClientOptions
  extends Pick<RequestConnectionOptions<BinaryFrame>, 'accepted' | 'turns' | 'log' | 'refusals'>,
    Omit<BinaryCallsOptions, 'client'> {
  readonly limits: RequestConnectionOptions<BinaryFrame>['limits'] &
    Pick<NodeConfig['limits'], 'max_request_bytes'>;
}

const INCOMPLETE: Fault = { reason: 'BAD_REQUEST', detail: 'the message is incomplete' };

/**
 * Serves one connection of the binary dialect. A message that ends too early,
 * or in no time, ends the connection without an answer, as the reference does.
 */
export function serveBinaryClient(options: BinaryClientOptions): Connection {
  return serveRequests<BinaryFrame>({ ...options, speak: (client) => binaryDialect(options, client) });
}

function binaryDialect(options: BinaryClientOptions, client: RequestClient): Dialect<BinaryFrame> {
  const { max_request_bytes: maxBytes } = options.limits;
  const calls = new BinaryCalls({ ...options, client });
  return {
    framer: new BinaryFramer({ maxBytes }),
    faultOf: (frame) => faultOf(frame, maxBytes),
    answerTo: (frame) => calls.answerTo(frame),
    lastAnswer: (fault, frame) => frame && calls.lastAnswerTo(frame, fault),
    incomplete: INCOMPLETE,
    // There is no byte that a client would read over: one that has closed its sending side is taken to be gone.
    watch: () => undefined,
    unwatch: () => undefined,
  };
}

function faultOf(frame: BinaryFrame, maxBytes: number): Fault | undefined {
  if (!('error' in frame) || frame.error !== 'too-large') return undefined;
  const detail = `a message may have ${maxBytes} bytes at most, not ${frame.bytes}`;
  return { reason: 'LIMIT_EXCEEDED', detail };
}
