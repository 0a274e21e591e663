import type { IncomingMessage } from 'node:http';
import type { TlsOptions } from 'node:tls';
import type { Log } from '#common/log/log.ts';
import { internalRefusal } from '../http/answers.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import { createHttpServer, createPlainHttpServer, type HttpServerOptions } from '../http/http-server.ts';
import type { ConsoleCalls } from './calls.ts';
import { pageResources } from './page-files.ts';
import { foreignRequest } from './same-origin.ts';

export const STATE_PATH = '/api/state';

/** The page loads nothing from elsewhere, sends nothing anywhere, and stands in no other one. */
const HEADERS = [
  ...[
    'Content-Security-Policy',
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ],
  ...['X-Content-Type-Options', 'nosniff', 'X-Frame-Options', 'DENY', 'Referrer-Policy', 'no-referrer'],
  ...['Cross-Origin-Opener-Policy', 'same-origin', 'Cross-Origin-Resource-Policy', 'same-origin'],
];

export interface ConsoleServerOptions {
  readonly calls: Pick<ConsoleCalls, 'state'>;
  readonly limits: HttpServerOptions<unknown>['limits'];
  readonly log: Pick<Log, 'error'>;
}

/** The console over plain HTTP. */
export function createPlainConsoleServer(options: ConsoleServerOptions) {
  return createPlainHttpServer(serverOptions(options, 'http'));
}

/** The console over HTTPS, for whoever shows a certificate that is trusted. */
export function createConsoleServer(options: ConsoleServerOptions, tls: TlsOptions) {
  return createHttpServer({ ...serverOptions(options, 'https'), tls });
}

function serverOptions(
  { calls, limits, log }: ConsoleServerOptions,
  scheme: 'http' | 'https',
): HttpServerOptions<'operator'> {
  return {
    ...{ limits, callMs: 0, headers: HEADERS, stranger: '' },
    resources: [
      ...pageResources(),
      { path: STATE_PATH, handlers: { GET: ({ query }) => calls.state(query) } },
    ],
    // All that could connect are.
    callerOf: () => 'operator',
    guard: (request: IncomingMessage) => foreignRequest(request, scheme),
    refusalOf: (thrown) => {
      if (thrown instanceof BadRequestError) return { code: 400, message: thrown.detail };
      return internalRefusal(thrown, log);
    },
  };
}
