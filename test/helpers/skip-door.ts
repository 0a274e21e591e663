import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { HardCases, HardDoor } from '../contract/front-end-contract.ts';
import { type ClientPem, idle, inPieces, secured } from './doors.ts';
import { RestClient } from './rest-client.ts';

interface DoorSystem {
  readonly id: string;
  readonly address: Address;
  readonly pem: ClientPem;
}

/** Requests that one who never reads has sent. */
const UNREAD_REQUESTS = 20_000;

/** The SKIP API of two nodes, with a system at each. */
export function skipDoor(one: DoorSystem, other: DoorSystem, stranger: ClientPem): HardDoor & HardCases {
  const { address, pem } = one;
  const request = (path: string, more = '') => Buffer.from(`GET ${path} HTTP/1.1\r\nhost: kp\r\n${more}\r\n`);
  const connect = () => secured(address, { ...pem });
  /** The code of the answer to what is sent. */
  const ask = async (send: (socket: TLSSocket) => unknown): Promise<number> => {
    const socket = await connect();
    const answered = once(socket, 'data');
    await send(socket);
    const [data] = await answered;
    socket.destroy();
    return Number(/^HTTP\/1\.1 (\d{3}) /.exec(String(data))?.[1]);
  };
  return {
    name: 'skip',
    statuses: { malformed: 400, slow: 400, stranger: 401 },
    async stranger() {
      const client = new RestClient(address, { ...stranger });
      const { code } = await client.get(`/key?remoteSystemID=${other.id}`);
      client.disconnect();
      return code;
    },
    malformed: () => ask((socket) => socket.write('no request at all\r\n\r\n')),
    async oversized() {
      const code = await ask((socket) =>
        socket.write(request('/capabilities', `x: ${'x'.repeat(20_000)}\r\n`)),
      );
      assert.equal(code, 431);
    },
    slow: () =>
      ask((socket) => inPieces(socket, request(`/key/${'0'.repeat(32)}?remoteSystemID=${other.id}`))),
    idle: (count) => idle(count, address, { ...pem }),
    async served() {
      const [a, b] = [new RestClient(address, { ...pem }), new RestClient(other.address, { ...other.pem })];
      const { code, body } = await a.get(`/key?remoteSystemID=${other.id}`);
      assert.equal(code, 200, JSON.stringify(body));
      assert.deepEqual((await b.get(`/key/${body.keyId}?remoteSystemID=${one.id}`)).body, body);
      a.disconnect();
      b.disconnect();
    },
    async neverReading() {
      const socket = await connect();
      socket.pause();
      const capabilities = request('/capabilities');
      socket.write(Buffer.concat(Array.from({ length: UNREAD_REQUESTS }, () => capabilities)));
      return async () => void socket.destroy();
    },
  };
}
