import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Address } from '#common/config/fields.ts';
import { listen } from '#common/net/listen.ts';
import { ownAddress } from '#common/net/own-address.ts';
import type { Readiness } from '#common/service/readiness.ts';

/** A probe opens, asks and closes: anything that stays longer is no probe. */
const REQUEST_LIMIT_MS = 2_000;
const MAX_CONNECTIONS = 32;
const MAX_HEADER_BYTES = 4_096;

const TEXT_TYPE = 'text/plain; charset=utf-8';
/** Prometheus' text format. */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Answer = readonly [code: number, text: string, type?: string];
/** What is at a path. */
type Page = () => Answer | Promise<Answer>;

const OK: Answer = [200, 'ok\n'];

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
 * @param metrics what `/metrics` answers, in Prometheus' text format; without it there is no such path.
 * @throws KeyweaveError BAD_CONFIG when the address cannot be bound.
 */
export async function openHealthPort(
  { host, port }: Address,
  readiness: Pick<Readiness, 'starting' | 'problems'>,
  metrics?: () => Promise<string>,
): Promise<HealthPort> {
  const pages: Readonly<Record<string, Page>> = {
    '/livez': () => OK,
    '/startupz': () => verdict(readiness.starting ? ['starting'] : []),
    '/readyz': async () => verdict(await readiness.problems()),
    ...(metrics && { '/metrics': async () => [200, await metrics(), METRICS_TYPE] }),
  };

  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: REQUEST_LIMIT_MS, headersTimeout: REQUEST_LIMIT_MS },
    (request, response) => void answer(pages, request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(REQUEST_LIMIT_MS);

  const own = { host: ownAddress(host), port };
  const address = await listen(server, own, `the health port ${host}:${port} cannot be bound`);
  // A probe that cannot be taken is asked again.
  server.on('error', () => undefined);
  return {
    address,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  pages: Readonly<Record<string, Page>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  request.resume();
  const path = request.url?.split('?')[0] ?? '';
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
  const readOnly = request.method === 'GET' || request.method === 'HEAD';
  const [code, text, type = TEXT_TYPE] = !page
    ? [404, 'no such probe\n']
    : readOnly
      ? await answerOf(page)
      : [405, 'GET only\n'];
  response.writeHead(code, {
    'content-type': type,
    'cache-control': 'no-store',
    connection: 'close',
  });
  response.end(request.method === 'HEAD' ? undefined : text);
}

async function answerOf(page: Page): Promise<Answer> {
  try {
    return await page();
  } catch {
    return [500, 'the answer could not be made\n'];
  }
}

function verdict(problems: readonly string[]): Answer {
  return problems.length === 0 ? OK : [503, `${problems.join('\n')}\n`];
}
