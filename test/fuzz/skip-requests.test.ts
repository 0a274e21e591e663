import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { createCa } from '#certs/issue.ts';
import { Secret } from '#common/crypto/secret.ts';
import { listen } from '#common/net/listen.ts';
import { systemClock } from '#common/time/clock.ts';
import { readQuery, readTarget } from '../../services/gateway/frontends/http/request-target.ts';
import { SKIP_KEYS } from '../../services/gateway/frontends/named-keys/key-kinds.ts';
import { Parties } from '../../services/gateway/frontends/named-keys/parties.ts';
import { PartyQuotas } from '../../services/gateway/frontends/named-keys/party-quotas.ts';
import { SkipCalls } from '../../services/gateway/frontends/skip/calls.ts';
import {
  readKeyId,
  readMinEntropy,
  readRemoteSystem,
  readSize,
} from '../../services/gateway/frontends/skip/requests.ts';
import { createSkipServer } from '../../services/gateway/frontends/skip/server.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { ALICE, BOB, configOf } from '../helpers/openings.ts';
import { answersTo } from '../helpers/rest-client.ts';
import { REST_SETTINGS } from '../helpers/sae-streams.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const ID = 'bc490419-7d60-f87f-adc1-4ddcc177c139';
const HEX = ID.replaceAll('-', '');

const PARTIES = { a: { node: ALICE }, b: { node: BOB } };
const SETTINGS = { ...REST_SETTINGS, systems: PARTIES };
const systems = new Parties(ALICE, PARTIES, 'keyweave');
const { limits } = configOf(ALICE);
const calls = new SkipCalls({
  ...{ systems, settings: SETTINGS },
  quotas: new PartyQuotas({
    ...{
      kind: SKIP_KEYS,
      parties: {},
      defaults: undefined,
      clock: systemClock,
      streams: { refused: () => undefined },
    },
  }),
  masters: {
    take: ({ bytes }) => [{ id: ID, key: new Secret(Buffer.alloc(bytes, 1)) }],
    putBack: () => undefined,
  },
  slaves: { take: (_slave, _master, ids) => ({ missing: [...ids] }) },
});

const NASTY = corpus('skip-requests');

/** Targets that are sound, and others. */
const targets = fc.oneof(
  mutated([
    ...NASTY,
    ...['/key?remoteSystemID=b&size=128', `/key/${HEX}?remoteSystemId=b`, '/entropy?minentropy=64&%61=+'].map(
      (text) => Buffer.from(text),
    ),
  ]).map((bytes) => bytes.toString('latin1')),
  fc.webUrl({ withQueryParameters: true }),
  fc.string(),
);

describe('requests of SKIP', () => {
  it('are read within their limits, or refused', () => {
    fc.assert(
      fc.property(targets, (url) => {
        onlyKeyweaveErrors(() => {
          const { segments, query } = readTarget(url);
          assert.ok(segments.length >= 1 && segments.every((each) => typeof each === 'string'));
          const members = readQuery(query);
          assert.equal(Object.getPrototypeOf(members), null);
          onlyKeyweaveErrors(() => {
            const size = readSize(members, SETTINGS);
            assert.ok(size >= 64 && size <= 4_096 && size % 8 === 0);
          });
          onlyKeyweaveErrors(() => {
            const bits = readMinEntropy(members);
            assert.ok(bits >= 1 && bits <= 4_096);
          });
          onlyKeyweaveErrors(() => assert.ok(readRemoteSystem(members).length > 0));
          for (const each of segments) {
            onlyKeyweaveErrors(() => assert.match(readKeyId(each), /^[0-9a-f-]{36}$/));
          }
        });
      }),
      { ...fuzzParameters(20_000), examples: NASTY.map((text): [string] => [String(text)]) },
    );
  });

  it('are each answered in JSON however they are spoilt, and the next one as ever', async () => {
    const ca = await createCa({ network: 'keyweave', days: 1 });
    const { certificate: cert, key } = await clientCertificate(ca, { subject: 'CN=a' });
    const { server, stop } = createSkipServer({
      ...{ calls, systems, limits, log: { error: () => assert.fail('an internal error') } },
      tls: { cert, key, ca: ca.certificate, requestCert: true, rejectUnauthorized: true },
      systemOfPsk: () => undefined,
      stranger: () => undefined,
    });
    after(() => stop(0));
    const { port } = await listen(server, { host: '127.0.0.1', port: 0 });
    const head = 'HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
    const sound = [
      `GET /key?remoteSystemID=b&size=256 ${head}`,
      `GET /key/${HEX}?remoteSystemID=b ${head}`,
      `GET /capabilities ${head}`,
      `GET /entropy?minentropy=128 ${head}`,
    ];
    const tls = { ca: ca.certificate, cert, key };
    const nasty = NASTY.map((target) => Buffer.from(`GET ${target} ${head}`));
    const ask = (sent: Buffer | string) => answersTo({ host: '127.0.0.1', port }, tls, sent);
    await fc.assert(
      fc.asyncProperty(mutated([...sound.map((text) => Buffer.from(text)), ...nasty]), async (sent) => {
        for (const each of (await ask(sent)).split(/(?=HTTP\/1\.1 \d{3} )/)) {
          if (each === '') continue;
          assert.match(each, /^HTTP\/1\.1 (200|400|404|405|408|417|431|505) /);
          const text = each.slice(each.indexOf('\r\n\r\n') + 4);
          assert.equal(typeof (text === '' ? {} : JSON.parse(text)), 'object');
        }
      }),
      { ...fuzzParameters(300), examples: nasty.map((text): [Buffer] => [text]) },
    );
    assert.match(await ask(sound[0] as string), /^HTTP\/1\.1 200 /);
  });
});
