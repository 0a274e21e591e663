import assert from 'node:assert/strict';
import type { ClientPem } from './doors.ts';
import { type HttpsDoor, type HttpsParty, httpRequest, httpsDoor } from './https-door.ts';
import { RestClient } from './rest-client.ts';

export interface RestDoorOptions {
  readonly master: HttpsParty;
  readonly slave: HttpsParty;
  /** No SAE of the node. */
  readonly stranger: ClientPem;
}

const BASE = '/api/v1/keys';
const UNKNOWN_KEY = '00112233-4455-8677-8899-aabbccddeeff';

/** The REST API of two nodes, with an SAE at each. */
export function restDoor({ master, slave, stranger }: RestDoorOptions): HttpsDoor {
  return httpsDoor({
    ...{ name: 'etsi014', party: master, stranger },
    targets: {
      newKey: `${BASE}/${slave.id}/enc_keys`,
      unknownKey: `${BASE}/${slave.id}/dec_keys?key_ID=${UNKNOWN_KEY}`,
      keyless: `${BASE}/${slave.id}/status`,
    },
    async oversized({ ask }) {
      const more = `content-type: application/json\r\ncontent-length: 100000\r\n`;
      const code = await ask((socket) => {
        socket.write(httpRequest('POST', `${BASE}/${slave.id}/enc_keys`, more));
        socket.write('x'.repeat(100_000));
      });
      assert.equal(code, 400);
    },
    async served() {
      const [a, b] = [
        new RestClient(master.address, { ...master.pem }),
        new RestClient(slave.address, { ...slave.pem }),
      ];
      const { code, keys, body } = await a.get(`${slave.id}/enc_keys`);
      assert.equal(code, 200, JSON.stringify(body));
      assert.deepEqual((await b.get(`${master.id}/dec_keys?key_ID=${keys[0]?.id}`)).keys, keys);
      a.disconnect();
      b.disconnect();
    },
  });
}
