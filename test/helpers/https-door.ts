import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { HardCases, HardDoor } from '../contract/front-end-contract.ts';
import { type ClientPem, idle, inPieces, secured } from './doors.ts';
import { RestClient } from './rest-client.ts';

/** A client of an HTTPS API. */
export interface HttpsParty {
  readonly id: string;
  readonly address: Address;
  readonly pem: ClientPem;
}

export interface HttpsDoorOptions {
  readonly name: string;
  /** Who calls. */
  readonly party: HttpsParty;
  /** A certificate that the node knows nothing of. */
  readonly stranger: ClientPem;
  /** Targets of a GET: of a new key, of one that nobody has, and of an answer without a key. */
  readonly targets: { readonly newKey: string; readonly unknownKey: string; readonly keyless: string };
  readonly oversized: (door: Pick<HttpsDoor, 'ask'>) => Promise<void>;
  readonly served: () => Promise<void>;
}

export interface HttpsDoor extends HardDoor, HardCases {
  /** The code of the answer to what is sent. */
  ask(send: (socket: TLSSocket) => unknown): Promise<number>;
}

/** Requests that one who never reads has sent. */
const UNREAD_REQUESTS = 20_000;

/** A request of HTTP/1.1 without a body; `more` are further lines of its header. */
export function httpRequest(method: string, target: string, more = ''): Buffer {
  return Buffer.from(`${method} ${target} HTTP/1.1\r\nhost: keyweave\r\n${more}\r\n`);
}

/** What every client of an HTTPS API may do to it. */
export function httpsDoor({
  name,
  party: { address, pem },
  stranger,
  targets,
  oversized,
  served,
}: HttpsDoorOptions): HttpsDoor {
  const connect = () => secured(address, { ...pem });
  const ask = async (send: (socket: TLSSocket) => unknown): Promise<number> => {
    const socket = await connect();
    const answered = once(socket, 'data');
    await send(socket);
    const [data] = await answered;
    socket.destroy();
    return Number(/^HTTP\/1\.1 (\d{3}) /.exec(String(data))?.[1]);
  };
  return {
    ...{ name, ask, served },
    statuses: { malformed: 400, slow: 400, stranger: 401 },
    async stranger() {
      const client = new RestClient(address, { ...stranger });
      const { code } = await client.get(targets.newKey);
      client.disconnect();
      return code;
    },
    malformed: () => ask((socket) => socket.write('no request at all\r\n\r\n')),
    oversized: () => oversized({ ask }),
    slow: () => ask((socket) => inPieces(socket, httpRequest('GET', targets.unknownKey))),
    idle: (count) => idle(count, address, { ...pem }),
    async neverReading() {
      const socket = await connect();
      socket.pause();
      const request = httpRequest('GET', targets.keyless);
      socket.write(Buffer.concat(Array.from({ length: UNREAD_REQUESTS }, () => request)));
      return async () => void socket.destroy();
    },
  };
}
