import { createServer, type IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { Address } from '#common/config/fields.ts';
import { FAULT_KINDS } from './faults.ts';
import type { KmeSimulator } from './main.ts';

const faultSchema = z.strictObject({
  end: z.int().min(0),
  kind: z.enum(FAULT_KINDS).nullable(),
  times: z.int().min(1).optional(),
});

const MAX_BODY_BYTES = 4096;

/**
 * The control port: `GET /state`, and `POST /fault` with
 * `{"end":0,"kind":"hang","times":1}` (kind null heals).
 */
export function startControlServer(
  simulator: KmeSimulator,
  address: Address,
): Promise<{ address: Address; stop(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const reply = (code: number, body: unknown) => {
      response.writeHead(code, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(body)}\n`);
    };
    if (request.method === 'GET' && request.url === '/state') return reply(200, simulator.state());
    if (request.method !== 'POST' || request.url !== '/fault') {
      return reply(404, { message: 'known are GET /state and POST /fault' });
    }
    const parsed = faultSchema.safeParse(await readJson(request));
    if (!parsed.success)
      return reply(400, { message: parsed.error.issues.map((issue) => issue.message).join('; ') });
    const { end, kind, times } = parsed.data;
    if (!simulator.hasEnd(end)) return reply(400, { message: `there is no end ${end}` });
    simulator.setFault(end, kind ?? undefined, times);
    return reply(200, simulator.state());
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, () => {
      const bound = server.address();
      resolve({
        address: { host: address.host, port: typeof bound === 'object' && bound ? bound.port : address.port },
        stop: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      });
    });
  });
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > MAX_BODY_BYTES) return undefined;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
