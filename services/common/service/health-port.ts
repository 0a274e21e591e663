import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** A probe opens, asks and closes: anything that stays longer is no probe. */
const REQUEST_LIMIT_MS = 2_000;
const MAX_CONNECTIONS = 32;
const MAX_HEADER_BYTES = 4_096;

/** Why something is not as it should be, in words without secrets; undefined when all is well. */
export type Problem = string | undefined;

export interface HealthPort {
  /** With the port that was bound. */
  readonly address: Address;
  /** The start is over: from now on `/readyz` asks `problem`. */
  started(problem: () => Problem): void;
  /** The stop has begun: no longer ready, still alive. */
  stopping(): void;
  close(): Promise<void>;
}

/**
 * The probes of whoever runs the process, over plain HTTP and without a
 * certificate: `/livez` (the process answers), `/startupz` (it has started)
 * and `/readyz` (it can do its own part). 200 means yes, 503 no, with the
 * reason as text. None of them looks at peers, stores or other services: a
 * restart here would not mend those.
 *
 * @throws KeyweaveError BAD_CONFIG when the address cannot be bound.
 */
export function openHealthPort({ host, port }: Address): Promise<HealthPort> {
  let starting: Problem = 'starting';
  let ready = (): Problem => starting;
  const probes: Readonly<Record<string, () => Problem>> = {
    '/livez': () => undefined,
    '/startupz': () => starting,
    '/readyz': () => ready(),
  };

  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: REQUEST_LIMIT_MS, headersTimeout: REQUEST_LIMIT_MS },
    (request, response) => answer(probes, request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(REQUEST_LIMIT_MS);

  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new KeyweaveError('BAD_CONFIG', `the health port ${host}:${port} cannot be bound`, { cause }));
    });
    server.listen(port, host, () => {
      const bound = server.address();
      resolve({
        address: { host, port: typeof bound === 'object' && bound ? bound.port : port },
        started: (problem) => {
          starting = undefined;
          ready = problem;
        },
        stopping: () => {
          ready = () => 'stopping';
        },
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      });
    });
  });
}

function answer(
  probes: Readonly<Record<string, () => Problem>>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const path = request.url?.split('?')[0] ?? '';
  const probe = Object.hasOwn(probes, path) ? probes[path] : undefined;
  const readOnly = request.method === 'GET' || request.method === 'HEAD';
  const problem = probe?.();
  const [code, text] = !probe
    ? [404, 'no such probe']
    : readOnly
      ? [problem === undefined ? 200 : 503, problem ?? 'ok']
      : [405, 'GET only'];
  response.writeHead(code, {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    connection: 'close',
  });
  response.end(request.method === 'HEAD' ? undefined : `${text}\n`);
  request.resume();
}
