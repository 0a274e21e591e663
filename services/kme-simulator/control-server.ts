import { createServer, type IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { Address } from '#common/config/fields.ts';
import { listen } from '#common/net/listen.ts';
import { FAULT_KINDS } from './faults.ts';
import type { KmeSimulator } from './kme-simulator.ts';

const faultSchema = z.strictObject({
  end: z.int().min(0),
  kind: z.enum(FAULT_KINDS).nullable(),
  times: z.int().min(1).optional(),
});

const MAX_BODY_BYTES = 4096;

export interface ControlServer {
  /** With the port that was bound. */
  readonly address: Address;
  stop(): Promise<void>;
}

interface Reply {
  readonly code: number;
  readonly body: unknown;
}

/**
 * The control port: `GET /state`, and `POST /fault` with
 * `{"end":0,"kind":"hang","times":1}` (kind null heals).
 *
 * @throws KeyweaveError BAD_CONFIG when the address cannot be bound.
 */
export async function startControlServer(simulator: KmeSimulator, address: Address): Promise<ControlServer> {
  const server = createServer((request, response) => {
    answer(simulator, request)
      // The request was cut off: nobody waits for this.
      .catch((): Reply => ({ code: 400, body: { message: 'the request is incomplete' } }))
      .then(({ code, body }) => {
        response.writeHead(code, { 'content-type': 'application/json' });
        response.end(`${JSON.stringify(body)}\n`);
      });
  });
  const stop = () =>
    new Promise<void>((done) => {
      server.close(() => done());
      server.closeAllConnections();
    });
  server.on('error', () => undefined);
  return { address: await listen(server, address), stop };
}

async function answer(simulator: KmeSimulator, request: IncomingMessage): Promise<Reply> {
  if (request.method === 'GET' && request.url === '/state') return { code: 200, body: simulator.state() };
  if (request.method !== 'POST' || request.url !== '/fault') {
    return { code: 404, body: { message: 'known are GET /state and POST /fault' } };
  }
  const parsed = faultSchema.safeParse(await readJson(request));
  if (!parsed.success) return { code: 400, body: { message: z.prettifyError(parsed.error) } };
  const { end, kind, times } = parsed.data;
  if (!simulator.hasEnd(end)) return { code: 400, body: { message: `there is no end ${end}` } };
  simulator.setFault(end, kind ?? undefined, times);
  return { code: 200, body: simulator.state() };
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const part of request) {
    // The rest is read and dropped, so that the answer still gets out.
    if (text.length <= MAX_BODY_BYTES) text += part;
  }
  if (text.length > MAX_BODY_BYTES) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
