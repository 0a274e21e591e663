import assert from 'node:assert/strict';
import type { ClientPem } from './doors.ts';
import { type HttpsDoor, type HttpsParty, httpRequest, httpsDoor } from './https-door.ts';
import { RestClient } from './rest-client.ts';

export interface SkipDoorOptions {
  readonly one: HttpsParty;
  readonly other: HttpsParty;
  /** No system of the node. */
  readonly stranger: ClientPem;
}

/** The SKIP API of two nodes, with a system at each. */
export function skipDoor({ one, other, stranger }: SkipDoorOptions): HttpsDoor {
  return httpsDoor({
    ...{ name: 'skip', party: one, stranger },
    targets: {
      newKey: `/key?remoteSystemID=${other.id}`,
      unknownKey: `/key/${'0'.repeat(32)}?remoteSystemID=${other.id}`,
      keyless: '/capabilities',
    },
    async oversized({ ask }) {
      const more = `x: ${'x'.repeat(20_000)}\r\n`;
      assert.equal(await ask((socket) => socket.write(httpRequest('GET', '/capabilities', more))), 431);
    },
    async served() {
      const [a, b] = [
        new RestClient(one.address, { ...one.pem }),
        new RestClient(other.address, { ...other.pem }),
      ];
      const { code, body } = await a.get(`/key?remoteSystemID=${other.id}`);
      assert.equal(code, 200, JSON.stringify(body));
      assert.deepEqual((await b.get(`/key/${body.keyId}?remoteSystemID=${one.id}`)).body, body);
      a.disconnect();
      b.disconnect();
    },
  });
}
