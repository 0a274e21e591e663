import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseStreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const UUID_A = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const UUID_B = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const NASTY = corpus('application-uris').map(String);

describe('application URIs', () => {
  const URIS = [
    `hybrid://a@${UUID_A}?hybridization=xoring&key_sources=ML-KEM-768,QKD`,
    `hybrid://a@${UUID_B}/?hybridization=hkdf-sha384&kem_mec=ml-kem-1024`,
    `HYBRID://x@${UUID_A}`,
  ].map((text) => Buffer.from(text));
  const query = fc
    .array(
      fc.tuple(
        fc.oneof(
          fc.constantFrom('hybridization', 'kem_mec', 'key_sources', 'hybridisation', 'key_source'),
          fc.webSegment(),
        ),
        fc.oneof(
          fc.constantFrom(
            'xoring',
            'hmac',
            'QKD',
            'ML-KEM-768,QKD',
            'QKD,QKD',
            ',',
            '%',
            '%00',
            'A,'.repeat(20),
          ),
          fc.webSegment(),
        ),
      ),
      { maxLength: 4 },
    )
    .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&'));
  const uri = fc.oneof(
    mutated(URIS).map(String),
    mutated(URIS).map((bytes) => bytes.toString('latin1')),
    fc
      .tuple(fc.webSegment(), fc.constantFrom(UUID_A, UUID_B, UUID_A.toUpperCase(), ''), query)
      .map(([name, node, rest]) => `hybrid://${name}@${node}?${rest}`),
    fc.webUrl({ withQueryParameters: true, withFragments: true }),
    fc.string(),
    fc.constantFrom(...NASTY),
  );

  it('are read as two different nodes, a method and 1 to 16 slots, or refused', () => {
    fc.assert(
      fc.property(uri, uri, (source, destination) => {
        onlyKeyweaveErrors(() => {
          const terms = parseStreamTerms(source, destination, {
            method: 'xoring',
            keySources: ['ML-KEM-768', 'QKD'],
          });
          assert.match(terms.sourceNode, /^[0-9a-f-]{36}$/);
          assert.match(terms.destinationNode, /^[0-9a-f-]{36}$/);
          assert.notEqual(terms.sourceNode, terms.destinationNode);
          assert.ok(terms.slots.length >= 1 && terms.slots.length <= 16);
          for (const slot of terms.slots) assert.ok(slot.sharedSecretBytes > 0);
        });
      }),
      {
        ...fuzzParameters(20_000),
        examples: [
          ...NASTY.map((text): [string, string] => [text, `hybrid://a@${UUID_B}`]),
          [`hybrid://a@${UUID_A}?key_sources=`, `hybrid://a@${UUID_B}`],
          [`hybrid://a@${UUID_A}?key_sources=constructor,__proto__`, `hybrid://a@${UUID_B}`],
          [`hybrid://a@${UUID_A}?hybridization=toString`, `hybrid://a@${UUID_B}`],
          [`hybrid://a@${UUID_A}`, `hybrid://a@${UUID_A.toUpperCase()}`],
          [`hybrid://${'a'.repeat(5000)}@${UUID_A}`, `hybrid://a@${UUID_B}`],
        ],
      },
    );
  });
});
