import type { ServerResponse } from 'node:http';
import type { Log } from '#common/log/log.ts';

/** An answer other than what was asked for. */
export interface Refusal {
  readonly code: number;
  readonly message: string;
  readonly details?: readonly Readonly<Record<string, string>>[];
  /** Value of the header Allow. */
  readonly allow?: string;
  /** The connection ends with it: what is left of the request is not read. */
  readonly ends?: boolean;
}

/** What nobody has foreseen: the log has it, the client learns no more than that. */
export function internalRefusal(thrown: unknown, log: Pick<Log, 'error'>, code = 500): Refusal {
  log.error('a request failed unexpectedly', {}, thrown);
  return { code, message: 'an internal error' };
}

/** Error data format of ETSI GS QKD 014 V1.1.1 (Table 13), which does for others, too. */
export function errorAnswer({ message, details = [] }: Omit<Refusal, 'code'>): Buffer {
  return Buffer.from(JSON.stringify(details.length === 0 ? { message } : { message, details }));
}

/** Media type of what a resource gives where it does not say otherwise. */
export const JSON_TYPE = 'application/json';

/** Sends what was asked for; of no answer may others keep a copy. */
export function sendBody(
  response: ServerResponse,
  { body, type, ends, headers }: { body: Buffer; type: string; ends: boolean; headers: readonly string[] },
): void {
  send(response, 200, body, ends, ['Content-Type', type, ...headers]);
}

/** @param headers names and values that every answer has. */
export function sendRefusal(
  response: ServerResponse,
  refusal: Refusal,
  ends: boolean,
  headers: readonly string[] = [],
): void {
  const { code, allow } = refusal;
  const more = ['Content-Type', JSON_TYPE, ...headers];
  if (allow !== undefined) more.push('Allow', allow);
  send(response, code, errorAnswer(refusal), ends || refusal.ends === true, more);
}

/** The same to a client of whose request nothing could be read: bare, for the end of the connection. */
export function bareRefusal(refusal: Refusal, reason: string): Buffer {
  const body = errorAnswer(refusal);
  const head = `HTTP/1.1 ${refusal.code} ${reason}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function send(
  response: ServerResponse,
  code: number,
  body: Buffer,
  ends: boolean,
  more: readonly string[],
): void {
  const headers = [...more, 'Cache-Control', 'no-store'];
  headers.push('Content-Length', String(body.length));
  if (ends) headers.push('Connection', 'close');
  response.writeHead(code, headers);
  response.end(body);
}
