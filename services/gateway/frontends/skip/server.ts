import type { TLSSocket, TlsOptions } from 'node:tls';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { internalRefusal, type Refusal } from '../http/answers.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import { createHttpServer, type HttpServer } from '../http/http-server.ts';
import type { Resource } from '../http/resources.ts';
import type { Parties, Party } from '../named-keys/parties.ts';
import { type Caller, callerOn } from '../named-keys/waiting-calls.ts';
import type { SkipCalls } from './calls.ts';

/** Timeouts of the delivery that one call may wait for in turn: an opening and its keys, and the same once again. */
const WAITS = 4;

export interface SkipServerOptions {
  readonly calls: SkipCalls;
  readonly systems: Parties;
  readonly tls: TlsOptions;
  readonly limits: NodeConfig['limits'];
  readonly log: Pick<Log, 'error'>;
  /** The system whose pre-shared key made the connection. */
  systemOfPsk(socket: TLSSocket): Party | undefined;
  /** A client that is no system of this node has called. */
  stranger(address: string): void;
}

/** The HTTPS server of SKIP (draft-cisco-skip-02). */
export function createSkipServer(options: SkipServerOptions): HttpServer {
  const { tls, limits, log, calls } = options;
  return createHttpServer({
    ...{ tls, limits, resources: resourcesOf(calls) },
    callMs: WAITS * limits.default_timeout,
    callerOf: (socket) => callerOf(socket, options),
    stranger: 'the client is no system of this key provider',
    refusalOf: (thrown) => refusalOf(thrown, log),
  });
}

function resourcesOf(calls: SkipCalls): Resource<Caller>[] {
  return [
    { path: '/key', handlers: { GET: ({ caller, query }) => calls.newKey(caller, query) } },
    {
      path: '/key/{keyId}',
      handlers: { GET: ({ caller, params, query }) => calls.key(caller, params[0] as string, query) },
    },
    { path: '/capabilities', handlers: { GET: ({ caller }) => calls.capabilities(caller) } },
    { path: '/entropy', handlers: { GET: ({ query }) => calls.entropy(query) } },
  ];
}

/** 400 for what the client does wrong, 500 for what must not be, 503 for what cannot be had now. */
function refusalOf(thrown: unknown, log: SkipServerOptions['log']): Refusal {
  const error = KeyweaveError.from(thrown);
  const { detail: message } = error;
  if (error instanceof BadRequestError) return { code: 400, message };
  if (error.reason !== 'INTERNAL') return { code: 503, message };
  return internalRefusal(thrown, log);
}

function callerOf(
  socket: TLSSocket,
  { systems, systemOfPsk, stranger }: SkipServerOptions,
): Caller | undefined {
  const certificate = socket.getPeerX509Certificate();
  return callerOn(socket, certificate ? systems.ofCertificate(certificate) : systemOfPsk(socket), stranger);
}
