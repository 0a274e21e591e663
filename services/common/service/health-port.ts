import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Readiness } from '#common/service/readiness.ts';

/** A probe opens, asks and closes: anything that stays longer is no probe. */
const REQUEST_LIMIT_MS = 2_000;
const MAX_CONNECTIONS = 32;
const MAX_HEADER_BYTES = 4_096;

/** What keeps the answer from being yes, in words. */
type Probe = () => readonly string[] | Promise<readonly string[]>;

export interface HealthPort {
  /** With the port that was bound. */
  readonly address: Address;
  close(): Promise<void>;
}

/**
 * The probes of whoever runs the process, over plain HTTP and without a
 * certificate: `/livez` (the process answers), `/startupz` (it has started)
 * and `/readyz` (it can do its work). 200 means yes, 503 no, with one line for
 * each thing that is missing. Liveness looks at nothing else: a restart here
 * would not mend what is missing elsewhere.
 *
 * @throws KeyweaveError BAD_CONFIG when the address cannot be bound.
 */
export function openHealthPort(
  { host, port }: Address,
  readiness: Pick<Readiness, 'starting' | 'problems'>,
): Promise<HealthPort> {
  const probes: Readonly<Record<string, Probe>> = {
    '/livez': () => [],
    '/startupz': () => (readiness.starting ? ['starting'] : []),
    '/readyz': () => readiness.problems(),
  };

  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: REQUEST_LIMIT_MS, headersTimeout: REQUEST_LIMIT_MS },
    (request, response) => void answer(probes, request, response),
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
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      });
    });
  });
}

async function answer(
  probes: Readonly<Record<string, Probe>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  request.resume();
  const path = request.url?.split('?')[0] ?? '';
  const probe = Object.hasOwn(probes, path) ? probes[path] : undefined;
  const readOnly = request.method === 'GET' || request.method === 'HEAD';
  const [code, text] = !probe
    ? [404, 'no such probe']
    : readOnly
      ? verdict(await probe())
      : [405, 'GET only'];
  response.writeHead(code, {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    connection: 'close',
  });
  response.end(request.method === 'HEAD' ? undefined : `${text}\n`);
}

function verdict(problems: readonly string[]): [code: number, text: string] {
  return problems.length === 0 ? [200, 'ok'] : [503, problems.join('\n')];
}
