import type { EventEmitter } from 'node:events';
import {
  createServer as createPlainServer,
  type IncomingMessage,
  type Server as PlainServer,
  type ServerOptions,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket, TlsOptions } from 'node:tls';
import type { NodeConfig } from '#common/config/node-config.ts';
import { bareRefusal, type Refusal, sendBody, sendRefusal } from './answers.ts';
import { readBody } from './request-body.ts';
import { readQuery, readTarget } from './request-target.ts';
import { type Handler, type Resource, Resources } from './resources.ts';

const HANDSHAKE_LIMIT_MS = 5_000;

/** How often requests that come too slowly are looked for. */
const CHECKING_MS = 1_000;

const MAX_HEADER_BYTES = 16_384;

const NO_BODY = Buffer.alloc(0);

export interface HttpServerOptions<C> {
  readonly resources: readonly Resource<C>[];
  readonly limits: Pick<
    NodeConfig['limits'],
    'idle_timeout' | 'max_request_bytes' | 'request_timeout' | 'write_timeout'
  >;
  /** How long a call may take until it is answered, milliseconds. */
  readonly callMs: number;
  /** Who calls on a connection, with TLS where the server has it; undefined for a stranger. Asked for each request of a stranger, else once. */
  callerOf(socket: TLSSocket): C | undefined;
  /** What a stranger is told. */
  readonly stranger: string;
  /** Names and values of headers that every answer has to a request that could be read. */
  readonly headers?: readonly string[];
  /** Looks at a request before anything is done for it: why it is not, or undefined. */
  guard?(request: IncomingMessage): Refusal | undefined;
  /** How a call is answered that has failed of this; it never throws. */
  refusalOf(thrown: unknown): Refusal;
}

/** What is known of a connection. */
interface Connection<C> {
  caller: C | undefined;
  /** Bodies of answers that are not on their way yet. */
  readonly unsent: Set<Buffer>;
  /** Calls that wait for their answers. */
  pending: number;
}

/** A server of few resources whose answers are wiped once they are sent, or never will be. */
export interface HttpServer<S extends PlainServer | Server = Server> {
  /** It does not listen yet. */
  readonly server: S;
  /** Stops accepting, ends what is idle, lets calls under way be answered for `graceMs`, then cuts. */
  stop(graceMs: number): Promise<void>;
}

/** Serves requests; the settings are those of both kinds of servers. */
type Start<S> = (
  settings: ServerOptions,
  serve: (request: IncomingMessage, response: ServerResponse) => void,
) => S;

/**
 * Makes an HTTPS server. Its memory is bounded for each connection: a header and a
 * body of a request have limits and deadlines, requests that come while
 * answers are not taken wait at the client.
 */
export function createHttpServer<C>(options: HttpServerOptions<C> & { tls: TlsOptions }): HttpServer {
  const { tls } = options;
  return startedBy(
    (settings, serve) => createServer({ ...tls, ...settings }, serve),
    'secureConnection',
    options,
  );
}

/** The same without TLS, for what only this machine reaches. */
export function createPlainHttpServer<C>(options: HttpServerOptions<C>): HttpServer<PlainServer> {
  return startedBy(createPlainServer, 'connection', options);
}

function startedBy<C, S extends PlainServer | Server>(
  start: Start<S>,
  opened: 'secureConnection' | 'connection',
  options: HttpServerOptions<C>,
): HttpServer<S> {
  const { limits, callMs } = options;
  const { request_timeout: requestTimeout, idle_timeout: keepAliveTimeout } = limits;
  const connections = new Connections<C>();
  const served = new ServedCalls(options, connections);
  const server = start(
    {
      // Looked for here, since the run time's own refusal has no message.
      requireHostHeader: false,
      ...{ noDelay: true, handshakeTimeout: HANDSHAKE_LIMIT_MS, maxHeaderSize: MAX_HEADER_BYTES },
      ...{ requestTimeout, headersTimeout: requestTimeout, keepAliveTimeout },
      connectionsCheckingInterval: Math.min(CHECKING_MS, requestTimeout),
    },
    (request, response) => served.serve(request, response),
  );
  // Without a byte in either direction while an answer is waited for or written.
  server.setTimeout(limits.write_timeout + callMs);
  // Of either kind of server; the one type of both knows no name of an event.
  const events: EventEmitter = server;
  events.on(opened, (socket: Socket) => connections.add(socket));
  events.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    sendRefusal(response, { code: 417, message: 'nothing but 100-continue can be expected' }, true);
  });
  events.on('clientError', (error: ParseError, socket: Socket) => {
    if (error.code === 'HPE_PAUSED' && error.rawPacket) unread(socket, error.rawPacket);
    else refuseUnreadable(error, socket, connections.of(socket)?.pending ?? 0);
  });
  const stop = async (graceMs: number) => {
    served.isStopping = true;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    connections.endIdle();
    const cut = setTimeout(() => server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(cut);
  };
  return { server, stop };
}

/** From a request to its answer. */
class ServedCalls<C> {
  readonly #o: HttpServerOptions<C>;
  readonly #connections: Connections<C>;
  readonly #resources: Resources<C>;
  readonly #headers: readonly string[];
  isStopping = false;

  constructor(options: HttpServerOptions<C>, connections: Connections<C>) {
    this.#o = options;
    this.#connections = connections;
    this.#resources = new Resources(options.resources);
    this.#headers = options.headers ?? [];
  }

  serve(request: IncomingMessage, response: ServerResponse): void {
    const socket = request.socket as TLSSocket;
    const connection = this.#connections.of(socket);
    // It has ended already.
    if (!connection) return;
    connection.caller ??= this.#o.callerOf(socket);
    const { caller } = connection;
    try {
      if (caller === undefined) {
        this.#refuse(response, { code: 401, message: this.#o.stranger });
        return;
      }
      this.#call(connection, caller, request, response);
    } catch (thrown) {
      this.#refuse(response, this.#o.refusalOf(thrown));
    }
  }

  #call(connection: Connection<C>, caller: C, request: IncomingMessage, response: ServerResponse): void {
    if (request.headers.host === undefined && request.httpVersion === '1.1') {
      this.#refuse(response, { code: 400, message: 'the header Host is missing', ends: true });
      return;
    }
    const refusal = this.#o.guard?.(request);
    if (refusal) {
      this.#refuse(response, refusal);
      return;
    }
    const target = readTarget(request.url as string);
    const found = this.#resources.find(target);
    if (!found) {
      this.#refuse(response, { code: 404, message: 'there is no such resource' });
      return;
    }
    const { params, type, handlers, allow } = found;
    const handler = handlers.get(request.method as string);
    if (!handler) {
      this.#refuse(response, { code: 405, message: `by ${allow} only`, allow });
      return;
    }
    const query = readQuery(target.query);
    if (request.method === 'GET') {
      this.#act(connection, response, { handler, type }, { caller, params, query, body: NO_BODY });
      return;
    }
    const { max_request_bytes: most } = this.#o.limits;
    readBody(request, most, (body) => {
      if (body) this.#act(connection, response, { handler, type }, { caller, params, query, body });
      else {
        const message = `the body has more than ${most} bytes`;
        this.#refuse(response, { code: 400, message, ends: true });
      }
    });
  }

  #act(
    connection: Connection<C>,
    response: ServerResponse,
    { handler, type }: { handler: Handler<C>; type: string },
    call: Parameters<Handler<C>>[0],
  ): void {
    try {
      const answer = handler(call);
      if (!(answer instanceof Promise)) {
        this.#answer(connection, response, answer, type);
        return;
      }
      connection.pending += 1;
      answer
        .finally(() => {
          connection.pending -= 1;
        })
        .then(
          (given) => this.#answer(connection, response, given, type),
          (thrown: unknown) => this.#refuse(response, this.#o.refusalOf(thrown)),
        );
    } catch (thrown) {
      this.#refuse(response, this.#o.refusalOf(thrown));
    }
  }

  #answer(connection: Connection<C>, response: ServerResponse, body: Buffer, type: string): void {
    if (response.req.socket.destroyed) {
      body.fill(0);
      return;
    }
    connection.unsent.add(body);
    response.once('close', () => {
      connection.unsent.delete(body);
      body.fill(0);
    });
    sendBody(response, { body, type, ends: this.isStopping, headers: this.#headers });
  }

  #refuse(response: ServerResponse, refusal: Refusal): void {
    if (!response.req.socket.destroyed) sendRefusal(response, refusal, this.isStopping, this.#headers);
  }
}

/** Those that are open. */
class Connections<C> {
  readonly #open = new Map<Socket, Connection<C>>();

  add(socket: Socket): void {
    // One that was ended at once for its certificate is not served.
    if (socket.destroyed) return;
    const connection: Connection<C> = { caller: undefined, unsent: new Set(), pending: 0 };
    this.#open.set(socket, connection);
    socket.once('close', () => {
      this.#open.delete(socket);
      for (const body of connection.unsent) body.fill(0);
    });
  }

  of(socket: Socket): Connection<C> | undefined {
    return this.#open.get(socket);
  }

  /** Ends those on which nothing is under way. */
  endIdle(): void {
    for (const [socket, { pending, unsent }] of this.#open) {
      if (pending === 0 && unsent.size === 0) socket.destroy();
    }
  }
}

interface ParseError extends NodeJS.ErrnoException {
  readonly rawPacket?: Buffer;
}

/**
 * The run time pauses a connection whose answers are not taken, but of one
 * with TLS it may still parse what has been decrypted, and takes the parser's
 * pause for an error. Nothing is lost: it is read once answers are taken.
 */
function unread(socket: Socket, data: Buffer): void {
  // The run time's own listener has gone with the error.
  if (socket.listenerCount('error') === 0) socket.on('error', () => undefined);
  socket.pause();
  socket.unshift(data);
}

/** What is no HTTP, or comes too slowly: the answer in words, where no other one is waited for before it, and the end. */
function refuseUnreadable(error: ParseError, socket: Socket, pending: number): void {
  if (error.code === 'ECONNRESET' || !socket.writable || pending > 0) {
    socket.destroy();
    return;
  }
  const code = codeOfUnreadable(error.code);
  const refusal = { code, message: MESSAGES[code] };
  socket.write(bareRefusal(refusal, STATUS_CODES[code] as string));
  socket.destroySoon();
}

const MESSAGES = {
  400: 'the request cannot be read',
  408: 'the request came too slowly',
  413: 'the request is too large',
  431: 'the header is too large',
};

function codeOfUnreadable(code: string | undefined): keyof typeof MESSAGES {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 408;
    case 'HPE_HEADER_OVERFLOW':
      return 431;
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 413;
    default:
      return 400;
  }
}
