import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { HardCases, HardDoor } from '../contract/front-end-contract.ts';
import { type ClientPem, idle, inPieces, secured } from './doors.ts';
import { RestClient } from './rest-client.ts';

export interface RestDoorOptions {
  readonly master: { readonly id: string; readonly address: Address; readonly pem: ClientPem };
  readonly slave: { readonly id: string; readonly address: Address; readonly pem: ClientPem };
  /** Of nobody whom the settings name. */
  readonly stranger: ClientPem;
}

/** Requests that one who never reads has sent. */
const UNREAD_REQUESTS = 20_000;

const UNKNOWN_KEY = '00112233-4455-8677-8899-aabbccddeeff';

/** The REST API of two nodes, with an SAE at each. */
export function restDoor({ master, slave, stranger }: RestDoorOptions): HardDoor & HardCases {
  const { address, pem } = master;
  const request = (method: string, path: string, more = '') =>
    Buffer.from(`${method} /api/v1/keys/${path} HTTP/1.1\r\nhost: kme\r\n${more}\r\n`);
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
    name: 'etsi014',
    statuses: { malformed: 400, slow: 400, stranger: 401 },
    async stranger() {
      const client = new RestClient(address, { ...stranger });
      const { code } = await client.get(`${slave.id}/enc_keys`);
      client.disconnect();
      return code;
    },
    malformed: () => ask((socket) => socket.write('no request at all\r\n\r\n')),
    async oversized() {
      const more = `content-type: application/json\r\ncontent-length: 100000\r\n`;
      const code = await ask((socket) => {
        socket.write(request('POST', `${slave.id}/enc_keys`, more));
        socket.write('x'.repeat(100_000));
      });
      assert.equal(code, 400);
    },
    slow: () =>
      ask((socket) => inPieces(socket, request('GET', `${slave.id}/dec_keys?key_ID=${UNKNOWN_KEY}`))),
    idle: (count) => idle(count, address, { ...pem }),
    async served() {
      const [a, b] = [new RestClient(address, { ...pem }), new RestClient(slave.address, { ...slave.pem })];
      const { code, keys, body } = await a.get(`${slave.id}/enc_keys`);
      assert.equal(code, 200, JSON.stringify(body));
      assert.deepEqual((await b.get(`${master.id}/dec_keys?key_ID=${keys[0]?.id}`)).keys, keys);
      a.disconnect();
      b.disconnect();
    },
    async neverReading() {
      const socket = await connect();
      socket.pause();
      const status = request('GET', `${slave.id}/status`);
      socket.write(Buffer.concat(Array.from({ length: UNREAD_REQUESTS }, () => status)));
      return async () => void socket.destroy();
    },
  };
}
