import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { Secret } from '#common/crypto/secret.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { BinaryFramer } from '#common/etsi/etsi004-binary-framer.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';
import * as binaryAnswers from '../../services/gateway/frontends/etsi004-binary/answers.ts';
import {
  type BinaryRequest,
  parseBinaryRequest,
} from '../../services/gateway/frontends/etsi004-binary/requests.ts';
import * as jsonAnswers from '../../services/gateway/frontends/etsi004-json/answers.ts';
import {
  type JsonRequest,
  parseJsonRequest,
} from '../../services/gateway/frontends/etsi004-json/requests.ts';

export type Dialect = 'json' | 'binary';

type Request = JsonRequest | BinaryRequest;
type CallName = Request['command'];

/** What a node does with a call, beside what it should. */
export type Oddity =
  | { readonly refuse: ErrorReason }
  /** byte by byte; and ends the connection; not at all; half of it and ends the connection; twice. */
  | 'in bytes'
  | 'and closes'
  | 'never'
  | 'half'
  | 'twice'
  /** Ends the connection having done what was asked, or before. */
  | 'lost'
  | 'closes'
  | { readonly instead: Buffer };

export interface OddNode {
  readonly port: number;
  /** The calls that came, each with the number of its connection, from 1, and the index that it asked for. */
  readonly seen: readonly string[];
  /** Keys that have left it. */
  readonly taken: ReadonlySet<number>;
  readonly ksid: string;
}

export const KEY_BYTES = 32;

/** The key of an index, the same at every such node. */
export function keyOfIndex(index: number): Buffer {
  return Buffer.alloc(KEY_BYTES, index + 1);
}

/** A node of one stream whose keys are all ready, which answers as `odd` says; it ends with its test. */
export async function oddNode(
  t: { after: (end: () => void) => void },
  dialect: Dialect,
  odd: (call: CallName, nth: number) => Oddity | undefined = () => undefined,
): Promise<OddNode> {
  const ksid = randomUUID();
  const seen: string[] = [];
  const taken = new Set<number>();
  const counts = new Map<CallName, number>();
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    const connection = sockets.push(socket);
    socket.on('error', () => undefined);
    const next = requestsOf(dialect);
    socket.on('data', (data: Buffer) => {
      if (socket.writableEnded) return;
      for (const request of next(data)) {
        const { command } = request;
        const nth = (counts.get(command) ?? 0) + 1;
        counts.set(command, nth);
        const index = request.command === 'GET_KEY' ? ` ${request.index ?? 'next'}` : '';
        seen.push(`${connection} ${command}${index}`);
        void send(socket, odd(command, nth), (reason) => answer(request, reason));
      }
    });
  });
  const answer = (request: Request, reason: ErrorReason | undefined): Buffer => {
    if (reason !== undefined) return refusal(dialect, request.command, reason);
    switch (request.command) {
      case 'OPEN_CONNECT': {
        const opened = { ksid, qos: { ...request.qos, keyChunkSize: KEY_BYTES } };
        return dialect === 'json'
          ? jsonAnswers.openAnswer({ ...opened, adjusted: undefined })
          : binaryAnswers.openAnswer({ ...opened, isAdjusted: false });
      }
      case 'GET_KEY': {
        let index = request.index ?? 0;
        if (request.index !== undefined && taken.has(index))
          return refusal(dialect, 'GET_KEY', 'INSUFFICIENT_KEY');
        while (taken.has(index)) index += 1;
        taken.add(index);
        const key = new Secret(keyOfIndex(index));
        const { keyAnswer } = dialect === 'json' ? jsonAnswers : binaryAnswers;
        return keyAnswer({ index, key, metadata: '{"age":1,"hops":0}' });
      }
      case 'CLOSE':
        return dialect === 'json' ? jsonAnswers.closeAnswer() : binaryAnswers.closeAnswer();
    }
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as { port: number }).port, seen, taken, ksid };
}

async function send(
  socket: Socket,
  odd: Oddity | undefined,
  make: (reason: ErrorReason | undefined) => Buffer,
): Promise<void> {
  if (typeof odd === 'object') {
    socket.write('instead' in odd ? odd.instead : make(odd.refuse));
    return;
  }
  if (odd === 'closes') return void socket.destroy();
  if (odd === 'never') return;
  const answer = make(undefined);
  if (odd === 'lost') return void socket.destroy();
  if (odd === 'half') return void socket.end(answer.subarray(0, answer.length / 2));
  if (odd === 'and closes') return void socket.end(answer);
  if (odd !== 'in bytes')
    return void socket.write(odd === 'twice' ? Buffer.concat([answer, answer]) : answer);
  socket.setNoDelay(true);
  for (const byte of answer) {
    socket.write(Buffer.from([byte]));
    await new Promise((turn) => setImmediate(turn));
  }
}

function refusal(dialect: Dialect, command: CallName, reason: ErrorReason): Buffer {
  const fault = { reason, detail: `no: ${reason}` };
  if (dialect === 'json') return jsonAnswers.errorAnswer(fault);
  return binaryAnswers.errorAnswer({ OPEN_CONNECT: 2, GET_KEY: 4, CLOSE: 8 }[command], fault);
}

function requestsOf(dialect: Dialect): (data: Buffer) => Request[] {
  if (dialect === 'json') {
    const framer = new JsonFramer({ maxBytes: 65_536 });
    return (data) => framer.push(data).map((frame) => parseJsonRequest(decodeJson(frame as Buffer)));
  }
  const framer = new BinaryFramer({ maxBytes: 65_536 });
  return (data) => {
    const requests: Request[] = [];
    for (let frame = framer.next(data, 0); frame; frame = framer.next(data, framer.end))
      requests.push(parseBinaryRequest(frame));
    return requests;
  };
}
