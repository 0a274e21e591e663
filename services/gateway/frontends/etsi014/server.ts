import type { Socket } from 'node:net';
import type { TLSSocket, TlsOptions } from 'node:tls';
import swagger from '@fastify/swagger';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { VERSION } from '#common/service/version.ts';
import { goneSignal } from '../gone-signal.ts';
import { errorAnswer } from './answers.ts';
import { type Caller, NotEntitledError, type RestCalls } from './calls.ts';
import { BadRequestError } from './requests.ts';
import type { RestSettings, Saes } from './saes.ts';
import { schemasOf } from './schemas.ts';

/** Where the description of the API is served (OpenAPI). */
export const OPENAPI_PATH = '/api/v1/openapi.json';

const KEYS_PATH = '/api/v1/keys';

/** Longest SAE ID of a path, each of its characters as up to nine. */
const MAX_PARAM_CHARS = 128 * 9;

/** Timeouts of the delivery that one call may wait for in turn: an opening and its keys, and the same once again. */
const WAITS = 4;

const HANDSHAKE_LIMIT_MS = 5_000;

export interface RestServerOptions {
  readonly calls: RestCalls;
  readonly saes: Saes;
  readonly settings: RestSettings;
  readonly tls: TlsOptions;
  readonly limits: NodeConfig['limits'];
  readonly log: Pick<Log, 'error'>;
  /** A client whose certificate names no SAE of this node has called. */
  stranger(address: string): void;
}

type Params = Readonly<Record<'slave_SAE_ID' | 'master_SAE_ID', string>>;
type Request = FastifyRequest<{ Params: Params }>;
type Route = (request: Request, caller: Caller) => Buffer | Promise<Buffer>;

/** The HTTPS server of ETSI GS QKD 014 V1.1.1, which does not listen yet. */
export async function createRestServer(options: RestServerOptions): Promise<FastifyInstance> {
  const { calls, settings, limits } = options;
  const app: FastifyInstance = fastify({
    https: { ...options.tls, handshakeTimeout: HANDSHAKE_LIMIT_MS },
    bodyLimit: limits.max_request_bytes,
    requestTimeout: limits.request_timeout,
    keepAliveTimeout: limits.idle_timeout,
    // Without a byte in either direction while an answer is waited for or written.
    connectionTimeout: limits.write_timeout + WAITS * limits.default_timeout,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: MAX_PARAM_CHARS, ignoreTrailingSlash: true },
  } as object);
  app.server.maxConnections = limits.max_connections;
  const callers = new Callers(options);

  await app.register(swagger, {
    openapi: {
      info: {
        title: 'ETSI GS QKD 014 V1.1.1',
        description: 'Keys of the Keyweave hybridization module. Clients show a certificate (mutual TLS).',
        version: VERSION,
      },
    },
  });
  // The schemas describe; what is read is checked in requests.ts, what is answered is written in answers.ts.
  app.setValidatorCompiler(() => () => true);
  app.setSerializerCompiler(() => JSON.stringify);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? undefined : JSON.parse(body as string));
    } catch {
      // The run time's own message quotes what was sent.
      done(new BadRequestError('the body is not JSON'), undefined);
    }
  });
  app.addHook('onRequest', (request, reply, done) => {
    if (callers.of(request.raw.socket as TLSSocket)) done();
    else send(reply.code(401), errorAnswer('the certificate names no SAE of this KME'));
  });
  app.setErrorHandler((thrown, _request, reply) => sendError(reply, thrown, options));
  app.setNotFoundHandler((_request, reply) => {
    send(reply.code(404), errorAnswer('there is no such resource'));
  });

  const schemas = schemasOf(settings);
  const route = (method: 'GET' | 'POST', url: string, schema: object, act: Route) => {
    app.route({
      ...{ method, url: `${KEYS_PATH}${url}`, schema },
      handler: (request, reply) => {
        const caller = callers.of(request.raw.socket as TLSSocket) as Caller;
        const answer = act(request as Request, caller);
        if (!(answer instanceof Promise)) {
          send(reply, answer);
          return;
        }
        return answer.then((given) => send(reply, given));
      },
    });
  };
  const slave = '/:slave_SAE_ID';
  const master = '/:master_SAE_ID';
  route('GET', `${slave}/status`, schemas.status, ({ params }, caller) =>
    calls.status(caller, params.slave_SAE_ID),
  );
  route('GET', `${slave}/enc_keys`, schemas.encKeysGet, ({ params, query }, caller) =>
    calls.encKeys(caller, params.slave_SAE_ID, query),
  );
  route('POST', `${slave}/enc_keys`, schemas.encKeysPost, ({ params, body }, caller) =>
    calls.encKeys(caller, params.slave_SAE_ID, body),
  );
  route('GET', `${master}/dec_keys`, schemas.decKeysGet, ({ params, query }, caller) =>
    calls.decKey(caller, params.master_SAE_ID, query),
  );
  route('POST', `${master}/dec_keys`, schemas.decKeysPost, ({ params, body }, caller) =>
    calls.decKeys(caller, params.master_SAE_ID, body),
  );
  refuseOtherVerbs(app);

  let description: Buffer | undefined;
  app.get(OPENAPI_PATH, { schema: { hide: true } as object }, (_request, reply) => {
    description ??= Buffer.from(JSON.stringify(app.swagger()));
    send(reply, Buffer.from(description));
  });
  await app.ready();
  return app;
}

/** What is a resource of the API, but not by this verb. */
function refuseOtherVerbs(app: FastifyInstance): void {
  const others = ['PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS'] as const;
  for (const [url, method, allow] of [
    ['/:SAE_ID/status', [...others, 'POST'], 'GET'],
    ['/:SAE_ID/enc_keys', [...others], 'GET, POST'],
    ['/:SAE_ID/dec_keys', [...others], 'GET, POST'],
  ] as const) {
    app.route({
      ...{ method: [...method], url: `${KEYS_PATH}${url}`, schema: { hide: true } as object },
      handler: (_request, reply) => {
        send(reply.code(405).header('allow', allow), errorAnswer(`by ${allow} only`));
      },
    });
  }
}

/** Sends a body and wipes it once it is on its way, or never will be. */
function send(reply: FastifyReply, body: Buffer): FastifyReply {
  reply.raw.once('close', () => body.fill(0));
  return reply.header('content-type', 'application/json').send(body);
}

/** 400 and 401 for what the client does wrong, 503 for all else: the standard has no other codes. */
function sendError(reply: FastifyReply, thrown: unknown, { limits, log }: RestServerOptions): FastifyReply {
  if (thrown instanceof BadRequestError)
    return send(reply.code(400), errorAnswer(thrown.detail, thrown.details));
  if (thrown instanceof NotEntitledError) return send(reply.code(401), errorAnswer(thrown.detail));
  const { code = '' } = thrown as { code?: unknown };
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    // The rest of it is not read.
    return send(
      reply.code(400).header('connection', 'close'),
      errorAnswer(`the body has more than ${limits.max_request_bytes} bytes`),
    );
  }
  if (typeof code === 'string' && code.startsWith('FST_ERR_')) {
    return send(reply.code(400), errorAnswer('the request cannot be read'));
  }
  const error = KeyweaveError.from(thrown);
  if (error.reason !== 'INTERNAL') return send(reply.code(503), errorAnswer(error.detail));
  log.error('a request failed unexpectedly', {}, thrown);
  return send(reply.code(503), errorAnswer('an internal error'));
}

/** Who has which connection. */
class Callers {
  readonly #o: Pick<RestServerOptions, 'saes' | 'stranger'>;
  readonly #known = new WeakMap<Socket, Caller>();

  constructor(options: Pick<RestServerOptions, 'saes' | 'stranger'>) {
    this.#o = options;
  }

  /** Undefined where the certificate names no SAE of this node. */
  of(socket: TLSSocket): Caller | undefined {
    const known = this.#known.get(socket);
    if (known) return known;
    const { saes, stranger } = this.#o;
    const address = `${socket.remoteAddress ?? 'gone'}:${socket.remotePort ?? 0}`;
    const certificate = socket.getPeerX509Certificate();
    const sae = certificate && saes.ofCertificate(certificate);
    if (!sae) {
      stranger(address);
      return undefined;
    }
    const caller: Caller = { sae, address, signal: goneSignal(socket) };
    this.#known.set(socket, caller);
    return caller;
  }
}
