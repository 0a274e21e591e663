import type { TLSSocket, TlsOptions } from 'node:tls';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { internalRefusal, type Refusal } from '../http/answers.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import { createHttpServer, type HttpServer } from '../http/http-server.ts';
import type { Call, Resource } from '../http/resources.ts';
import type { Parties } from '../named-keys/parties.ts';
import { type Caller, callerOn } from '../named-keys/waiting-calls.ts';
import { NotEntitledError, type RestCalls } from './calls.ts';
import { openApiOf } from './openapi.ts';
import type { RestSettings } from './requests.ts';
import { operationsOf, RESOURCES } from './schemas.ts';

/** Where the description of the API is served (OpenAPI). */
export const OPENAPI_PATH = '/api/v1/openapi.json';

/** Timeouts of the delivery that one call may wait for in turn: an opening and its keys, and the same once again. */
const WAITS = 4;

export interface RestServerOptions {
  readonly calls: RestCalls;
  readonly saes: Parties;
  readonly settings: RestSettings;
  readonly tls: TlsOptions;
  readonly limits: NodeConfig['limits'];
  readonly log: Pick<Log, 'error'>;
  /** A client whose certificate names no SAE of this node has called. */
  stranger(address: string): void;
}

/** The HTTPS server of ETSI GS QKD 014 V1.1.1. */
export function createRestServer(options: RestServerOptions): HttpServer {
  const { tls, limits, log } = options;
  return createHttpServer({
    ...{ tls, limits, resources: resourcesOf(options) },
    callMs: WAITS * limits.default_timeout,
    callerOf: (socket) => callerOf(socket, options),
    stranger: 'the certificate names no SAE of this KME',
    refusalOf: (thrown) => refusalOf(thrown, log),
  });
}

function resourcesOf({ calls, settings }: RestServerOptions): Resource<Caller>[] {
  const description = Buffer.from(JSON.stringify(openApiOf(operationsOf(settings))));
  return [
    {
      path: RESOURCES.encKeys,
      handlers: {
        GET: ({ caller, params, query }) => calls.encKeys(caller, sae(params), query),
        POST: ({ caller, params, body }) => calls.encKeys(caller, sae(params), jsonOf(body)),
      },
    },
    {
      path: RESOURCES.decKeys,
      handlers: {
        GET: ({ caller, params, query }) => calls.decKey(caller, sae(params), query),
        POST: ({ caller, params, body }) => calls.decKeys(caller, sae(params), jsonOf(body)),
      },
    },
    {
      path: RESOURCES.status,
      handlers: { GET: ({ caller, params }) => calls.status(caller, sae(params)) },
    },
    { path: OPENAPI_PATH, handlers: { GET: () => Buffer.from(description) } },
  ];
}

function sae([id]: Call<Caller>['params']): string {
  return id as string;
}

/** @throws BadRequestError; the run time's own message quotes what was sent. */
function jsonOf(body: Buffer): unknown {
  if (body.length === 0) return undefined;
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new BadRequestError('the body is not JSON');
  }
}

/** 400 and 401 for what the client does wrong, 503 for all else: the standard has no other codes. */
function refusalOf(thrown: unknown, log: RestServerOptions['log']): Refusal {
  const error = KeyweaveError.from(thrown);
  const { detail: message } = error;
  if (error instanceof BadRequestError) return { code: 400, message, details: error.details };
  if (error instanceof NotEntitledError) return { code: 401, message };
  if (error.reason !== 'INTERNAL') return { code: 503, message };
  return internalRefusal(thrown, log, 503);
}

function callerOf(socket: TLSSocket, { saes, stranger }: RestServerOptions): Caller | undefined {
  const certificate = socket.getPeerX509Certificate();
  return callerOn(socket, certificate && saes.ofCertificate(certificate), stranger);
}
