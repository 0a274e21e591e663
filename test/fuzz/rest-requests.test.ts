import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { createCa } from '#certs/issue.ts';
import { Secret } from '#common/crypto/secret.ts';
import { listen } from '#common/net/listen.ts';
import { systemClock } from '#common/time/clock.ts';
import { RestCalls } from '../../services/gateway/frontends/etsi014/calls.ts';
import {
  readKeyIds,
  readKeyRequest,
  readOneKeyId,
} from '../../services/gateway/frontends/etsi014/requests.ts';
import { createRestServer } from '../../services/gateway/frontends/etsi014/server.ts';
import { KeyIds, readKeyId } from '../../services/gateway/frontends/named-keys/key-ids.ts';
import { ETSI014_KEYS } from '../../services/gateway/frontends/named-keys/key-kinds.ts';
import { Parties } from '../../services/gateway/frontends/named-keys/parties.ts';
import { PartyQuotas } from '../../services/gateway/frontends/named-keys/party-quotas.ts';
import { groupOf } from '../../services/gateway/frontends/named-keys/stream-names.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { ALICE, configOf } from '../helpers/openings.ts';
import { answersTo } from '../helpers/rest-client.ts';
import { REST_SETTINGS } from '../helpers/sae-streams.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const ID = 'bc490419-7d60-487f-adc1-4ddcc177c139';

/** Names that are read, and others. */
const names = fc.oneof(
  fc.constantFrom(
    'number',
    'size',
    'key_IDs',
    'key_ID',
    'additional_slave_SAE_IDs',
    '__proto__',
    'constructor',
  ),
  fc.constantFrom('extension_mandatory', 'extension_optional', 'key_IDs_extension', 'toString'),
  fc.string({ maxLength: 12 }),
);
const anything = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.oneof(
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.constantFrom(ID, 'b', '8', '-1', '1e9'),
    ),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(names, tie('value'), { maxKeys: 5 }),
  ),
})).value;

const saes = new Parties(ALICE, REST_SETTINGS.saes, 'keyweave');
const { limits } = configOf(ALICE);
const calls = new RestCalls({
  ...{ saes, settings: REST_SETTINGS, limits },
  quotas: new PartyQuotas({
    ...{
      kind: ETSI014_KEYS,
      parties: REST_SETTINGS.saes,
      defaults: undefined,
      clock: systemClock,
      streams: { refused: () => undefined },
    },
  }),
  masters: {
    take: ({ count, bytes }) =>
      Array.from({ length: count }, () => ({ id: ID, key: new Secret(Buffer.alloc(bytes, 1)) })),
    readyKeys: () => 0,
    putBack: () => undefined,
  },
  slaves: { take: (_slave, _master, ids) => ({ missing: [...ids] }) },
});

describe('requests of ETSI GS QKD 014', () => {
  it('are read within their limits, or refused', () => {
    fc.assert(
      fc.property(anything, (given) => {
        onlyKeyweaveErrors(() => {
          const { number, size, additionalSlaves } = readKeyRequest(given, REST_SETTINGS);
          assert.ok(number >= 1 && number <= 128 && size >= 64 && size <= 4_096 && size % 8 === 0);
          assert.ok(additionalSlaves.length <= 8 && additionalSlaves.every((id) => typeof id === 'string'));
        });
        onlyKeyweaveErrors(() => {
          const ids = readKeyIds(given, REST_SETTINGS);
          assert.ok(ids.length >= 1 && ids.length <= 128 && ids.every((id) => readKeyId(id) === id));
        });
        onlyKeyweaveErrors(() => assert.equal(readOneKeyId(given).length, 36));
      }),
      fuzzParameters(20_000),
    );
  });

  it('never take a key_ID for another, whatever it is', () => {
    const ids = new KeyIds('11111111-1111-4111-8111-111111111111', ETSI014_KEYS);
    const own = Buffer.from(ids.of(7));
    fc.assert(
      fc.property(fc.oneof(fc.uuid(), mutated([own]).map(String), fc.string()), (text) => {
        const id = readKeyId(text);
        if (id === undefined) return;
        const index = ids.indexOf(id);
        if (index !== undefined) assert.equal(ids.of(index), id);
      }),
      fuzzParameters(20_000),
    );
  });

  it('name a group of SAEs of the two nodes, or none, whatever the other node offers', () => {
    const source = Buffer.from(`hybrid://listener~rest~b@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb?x=y`);
    const destination = Buffer.from(`hybrid://listener~rest~a,a2@${ALICE}`);
    fc.assert(
      fc.property(mutated([source]), mutated([destination]), (one, other) => {
        const uris = { source: String(one), destination: String(other) };
        const peer = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
        const group = groupOf(
          ETSI014_KEYS,
          { ...uris, peer, ksid: '', method: '', sources: [], keyBytes: 32 },
          saes,
        );
        if (!group) return;
        assert.equal(group.master.node, peer);
        assert.ok(group.slaves.length >= 1 && group.slaves.every(({ node }) => node === ALICE));
      }),
      fuzzParameters(10_000),
    );
  });

  it('are each answered in JSON however they are spoilt, and the next one as ever', async () => {
    const ca = await createCa({ network: 'keyweave', days: 1 });
    const { certificate: cert, key } = await clientCertificate(ca, { subject: 'CN=a' });
    const { server, stop } = createRestServer({
      ...{
        calls,
        saes,
        settings: REST_SETTINGS,
        limits,
        log: { error: () => assert.fail('an internal error') },
      },
      tls: { cert, key, ca: ca.certificate, requestCert: true, rejectUnauthorized: true },
      stranger: () => undefined,
    });
    after(() => stop(0));
    const { port } = await listen(server, { host: '127.0.0.1', port: 0 });
    const head = 'HTTP/1.1\r\nhost: x\r\nconnection: close\r\n';
    const body = `{"key_IDs":[{"key_ID":"${ID}"}]}`;
    const sound = [
      `GET /api/v1/keys/b/enc_keys?number=1&size=256 ${head}\r\n`,
      `GET /api/v1/keys/b/dec_keys?key_ID=${ID} ${head}\r\n`,
      `POST /api/v1/keys/b/dec_keys ${head}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      `POST /api/v1/keys/b/enc_keys ${head}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
    ];
    const nasty = corpus('rest-requests');
    const tls = { ca: ca.certificate, cert, key };
    const ask = (sent: Buffer | string) => answersTo({ host: '127.0.0.1', port }, tls, sent);
    await fc.assert(
      fc.asyncProperty(mutated([...sound.map((text) => Buffer.from(text)), ...nasty]), async (sent) => {
        for (const each of (await ask(sent)).split(/(?=HTTP\/1\.1 \d{3} )/)) {
          if (each === '') continue;
          assert.match(each, /^HTTP\/1\.1 (200|400|401|404|405|408|414|417|431|501|505) /);
          const text = each.slice(each.indexOf('\r\n\r\n') + 4);
          const json =
            /\ncontent-length: 0\r|\ntransfer-encoding/i.test(each) || text === '' ? {} : JSON.parse(text);
          assert.equal(typeof json, 'object');
        }
      }),
      { ...fuzzParameters(300), examples: nasty.map((text): [Buffer] => [text]) },
    );
    assert.match(await ask(sound[0] as string), /^HTTP\/1\.1 200 /);
  });
});
