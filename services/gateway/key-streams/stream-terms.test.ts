import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { parseStreamTerms } from './stream-terms.ts';

const A = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const B = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const defaults = { method: 'hkdf-sha384', keySources: ['ML-KEM-768', 'QKD'] };
const terms = (query: string, destination = `hybrid://x@${B}`) =>
  parseStreamTerms(`hybrid://x@${A}${query}`, destination, defaults);
const names = (query: string) => terms(query).slots.map((slot) => slot.algorithm);

describe('parseStreamTerms', () => {
  it("reads the reference's form: one KEM, and QKD beside it", () => {
    const read = terms('?hybridization=XORing&kem_mec=kyber512');
    assert.equal(read.method.name, 'xoring');
    assert.deepEqual(
      read.slots.map((slot) => slot.algorithm),
      ['Kyber512', 'QKD'],
    );
    assert.deepEqual([read.sourceNode, read.destinationNode], [A, B]);
  });

  it('reads ordered lists with repeats, aliases and any case', () => {
    assert.deepEqual(names('?key_sources=ml-kem-786,qkd,ML-KEM-768,hqc-256'), [
      'ML-KEM-768',
      'QKD',
      'ML-KEM-768',
      'HQC-256',
    ]);
  });

  it('falls back on the defaults of the listener', () => {
    assert.deepEqual(names(''), ['ML-KEM-768', 'QKD']);
    assert.equal(terms('?kem_mec=Kyber768').method.name, 'hkdf-sha384');
  });

  it('takes upper-case UUIDs and ignores the query of the destination', () => {
    assert.equal(terms('', `hybrid://x@${B.toUpperCase()}?hybridization=nonsense`).destinationNode, B);
  });

  for (const [what, act, reason] of [
    ['another scheme', () => parseStreamTerms(`http://x@${A}`, `hybrid://x@${B}`, defaults), 'NO_ROUTE'],
    ['no application', () => parseStreamTerms(`hybrid://${A}`, `hybrid://x@${B}`, defaults), 'NO_ROUTE'],
    ['no UUID', () => parseStreamTerms('hybrid://x@node', `hybrid://x@${B}`, defaults), 'NO_ROUTE'],
    ['an endless URI', () => terms(`?a=${'x'.repeat(5000)}`), 'NO_ROUTE'],
    ['the same node twice', () => terms('', `hybrid://y@${A}`), 'NO_ROUTE'],
    ['both forms of sources', () => terms('?kem_mec=Kyber512&key_sources=QKD'), 'NO_ROUTE'],
    ['an unknown method', () => terms('?hybridization=rot13'), 'UNSUPPORTED'],
    ['an unknown source', () => terms('?key_sources=QKD,Kyber9'), 'UNSUPPORTED'],
    ['an empty source', () => terms('?key_sources='), 'UNSUPPORTED'],
    ['too many sources', () => terms(`?key_sources=${Array(17).fill('QKD')}`), 'UNSUPPORTED'],
  ] as const) {
    it(`refuses ${what} in words`, () => assert.throws(act, (error) => isReason(error, reason)));
  }
});
