import 'reflect-metadata';
import assert from 'node:assert/strict';
import { type webcrypto, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import { loadNodeFiles } from '#common/config/load.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { jsonPlaces } from '#common/json/json-places.ts';
import { isSubnet, ownAddress } from '#common/net/own-address.ts';
import { parseSpiffeId, spiffeId, spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import { parseAddress, parseCount } from '../../services/cli/address.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const UUID = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const PEER = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const SPIFFE = spiffeId('keyweave', UUID, 'gateway');

const folder = mkdtempSync(join(tmpdir(), 'keyweave-fuzz-'));
after(() => rmSync(folder, { recursive: true }));

const CONFIG = {
  uuid: UUID,
  certificate_config: {
    certificate_ip: '127.0.0.1',
    cert_authority_path: 'ca.crt',
    cert_path: 'node.crt',
    key_path: 'node.key',
  },
  hybridization_server_address: { host: '127.0.0.1', port: 65430 },
  qkd_address: { host: '127.0.0.1', port: 54000 },
  peer_local_address: { host: '127.0.0.1', port: 3001 },
  limits: { default_timeout: '10s' },
};
/** No piece of it may be in any error: it is made of what nothing else is made of. */
const SEED = 'ZqXwVjZqXwVjQzWxJvQzWxJv';
const PEERS = { [PEER]: { shared_seed: SEED, address: { host: '127.0.0.2', port: 3001 } } };

/** Loads the two files as given. */
function load(config: Buffer | string, peers: Buffer | string) {
  const [configPath, peersPath] = [join(folder, 'config.json'), join(folder, 'peers.json')];
  writeFileSync(configPath, config);
  writeFileSync(peersPath, peers);
  return loadNodeFiles(configPath, peersPath);
}

/** Pieces of the seed of `bytes` bytes. */
function piecesOf(seed: string, bytes: number): string[] {
  return Array.from({ length: seed.length - bytes + 1 }, (_, i) => seed.slice(i, i + bytes));
}

describe("a node's files", () => {
  const soundConfig = JSON.stringify(CONFIG);
  const nasty = corpus('configuration');
  const soundPeers = JSON.stringify(PEERS, undefined, 2);

  it('are loaded, or refused as BAD_CONFIG with the name of the file', () => {
    const other = fc.oneof(
      mutated([Buffer.from(soundConfig), ...nasty]),
      fc.json().map(Buffer.from),
      fc.uint8Array().map(Buffer.from),
    );
    fc.assert(
      fc.property(other, (config) => {
        try {
          load(config, soundPeers);
        } catch (error) {
          assert.ok(error instanceof KeyweaveError, `${error}`);
          assert.equal(error.reason, 'BAD_CONFIG');
          assert.match(error.detail, /config\.json: /);
        }
      }),
      {
        ...fuzzParameters(1_000),
        examples: [
          ...nasty,
          Buffer.from(`${soundConfig}x`),
          Buffer.from(soundConfig.replace('65430', '1e9')),
        ].map((text): [Buffer] => [text]),
      },
    );
  });

  it('of which any member is anything else are refused by its name', () => {
    const members = [
      'uuid',
      'certificate_config',
      'limits',
      'policy',
      'qkd',
      'pqc',
      'store',
      'listeners',
      'health',
      'peer_local_address',
    ];
    fc.assert(
      fc.property(fc.constantFrom(...members), fc.jsonValue(), (member, value) => {
        try {
          load(JSON.stringify({ ...CONFIG, [member]: value }), soundPeers);
        } catch (error) {
          assert.ok(error instanceof KeyweaveError, `${error}`);
          assert.ok(error.detail.includes(member), error.detail);
        }
      }),
      fuzzParameters(500),
    );
  });

  it('of peers, however spoilt, never have a piece of a shared_seed in the error', () => {
    fc.assert(
      fc.property(mutated([Buffer.from(soundPeers)]), (peers) => {
        try {
          load(soundConfig, peers);
        } catch (error) {
          assert.ok(error instanceof KeyweaveError, `${error}`);
          assert.equal(error.reason, 'BAD_CONFIG');
          for (const piece of piecesOf(SEED, 4)) assert.ok(!error.detail.includes(piece), error.detail);
        }
      }),
      {
        ...fuzzParameters(1_000),
        examples: [
          [Buffer.from(soundPeers.replace(`"${SEED}`, SEED))],
          [Buffer.from(soundPeers.replace(`${SEED}"`, SEED))],
        ],
      },
    );
  });
});

describe('places in a JSON text', () => {
  it('are those of its lines, whatever it holds, and no key stands twice', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        const { lineOf, duplicates } = jsonPlaces(text);
        assert.deepEqual(duplicates, []);
        const lines = text.split('\n');
        if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
        for (const key of Object.keys(value))
          assert.ok(lines[lineOf([key]) - 1]?.includes(JSON.stringify(key)), JSON.stringify(key));
      }),
      fuzzParameters(2_000),
    );
  });
});

describe('addresses and counts of the command line', () => {
  const text = fc.oneof(
    fc.string(),
    fc.ipV4(),
    fc.ipV6(),
    mutated([Buffer.from('127.0.0.1:80'), Buffer.from('[::1]:80'), Buffer.from('10.0.0.0/8')]).map(String),
  );

  it('are read, or refused', () => {
    fc.assert(
      fc.property(text, (one) => {
        onlyKeyweaveErrors(() => {
          const { host, port } = parseAddress(one);
          assert.ok(host.length > 0 && port >= 0 && port <= 65_535);
        });
        onlyKeyweaveErrors(() =>
          assert.ok(Number.isInteger(parseCount('n', one)) && parseCount('n', one) >= 1),
        );
        onlyKeyweaveErrors(() => assert.equal(typeof ownAddress(one, () => ({})), 'string'));
        assert.equal(typeof isSubnet(one), 'boolean');
      }),
      {
        ...fuzzParameters(10_000),
        examples: [['[::1]:65536'], ['::1:80'], ['0x10'], ['1e3'], ['::/129'], ['1.2.3.4/33'], ['/'], ['']],
      },
    );
  });
});

describe('SPIFFE ids', () => {
  it('of any text are those that they were made of, or none', () => {
    const part = fc.oneof(fc.stringMatching(/^[a-z0-9._-]{1,12}$/), fc.string());
    const text = fc.oneof(
      mutated([Buffer.from(SPIFFE)]).map((bytes) => bytes.toString('latin1')),
      fc.tuple(part, fc.oneof(fc.uuid(), part), part).map((parts) => spiffeId(...parts)),
      fc.string(),
    );
    fc.assert(
      fc.property(text, (id) => {
        const parsed = parseSpiffeId(id);
        if (parsed) assert.equal(id, spiffeId(parsed.network, parsed.nodeUuid, parsed.service));
      }),
      {
        ...fuzzParameters(20_000),
        examples: [[`${SPIFFE}\n`], [`${SPIFFE}/x`], [SPIFFE.toUpperCase()], [`${SPIFFE}?`]],
      },
    );
  });

  describe('of certificates', () => {
    let keys: webcrypto.CryptoKeyPair;
    before(async () => {
      keys = (await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
        'sign',
        'verify',
      ])) as webcrypto.CryptoKeyPair;
    });

    it('come from the one URI name only, whatever the other names look like', async () => {
      // Names that try to be read as more than one, or as one of another kind.
      const hostile = fc.oneof(
        fc.constantFrom(
          `x, URI:${SPIFFE}`,
          `"x", URI:${SPIFFE}`,
          `URI:${SPIFFE}`,
          `${SPIFFE}, DNS:x`,
          `\\", URI:${SPIFFE}`,
          SPIFFE,
          '',
        ),
        mutated([Buffer.from(`x, URI:${SPIFFE}`)]).map((bytes) =>
          bytes.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '.'),
        ),
        fc.webUrl(),
      );
      const name = fc.record({ type: fc.constantFrom('dns', 'url', 'email'), value: hostile });
      await fc.assert(
        fc.asyncProperty(fc.array(name, { minLength: 1, maxLength: 3 }), async (names) => {
          const made = await x509.X509CertificateGenerator.createSelfSigned({
            name: 'CN=x',
            signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
            keys: keys as never,
            extensions: [new x509.SubjectAlternativeNameExtension(names as x509.JsonGeneralNames)],
          }).catch(() => undefined);
          fc.pre(made !== undefined);
          const found = spiffeIdOfCertificate(new X509Certificate(Buffer.from(made.rawData)));
          const uris = names.filter(({ type }) => type === 'url').map(({ value }) => value);
          const expected = uris.length === 1 && parseSpiffeId(uris[0] as string) ? uris[0] : undefined;
          assert.equal(found, expected);
        }),
        {
          ...fuzzParameters(300),
          examples: [
            [[{ type: 'url', value: SPIFFE }]],
            [[{ type: 'dns', value: `x, URI:${SPIFFE}` }]],
            [
              [
                { type: 'url', value: SPIFFE },
                { type: 'url', value: SPIFFE },
              ],
            ],
            [
              [
                { type: 'url', value: SPIFFE },
                { type: 'dns', value: `x, URI:${SPIFFE}` },
              ],
            ],
          ],
        },
      );
    });
  });
});
