import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import {
  countQkdSlots,
  isKem,
  parseStreamTerms,
  replaceableSlot,
  type StreamTerms,
  slotOf,
  standInFor,
  standInSlot,
  withEnoughSecrets,
} from './stream-terms.ts';

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

  it('refuses a method that needs two distinct secrets where there is one, and says what to do', () => {
    for (const method of ['xoring', 'hmac', 'xorhmac']) {
      for (const source of ['QKD', 'ML-KEM-1024']) {
        assert.throws(
          () => terms(`?hybridization=${method}&key_sources=${source}`),
          (error: Error) => {
            assert.ok(isReason(error, 'UNSUPPORTED'));
            for (const word of [
              method,
              source,
              'two distinct secrets',
              'hkdf-sha384',
              'policy.missing_source',
            ])
              assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
            assert.doesNotMatch(error.message, /which node/, 'nobody has barred it');
            return true;
          },
        );
      }
      assert.deepEqual(names(`?hybridization=${method}&key_sources=QKD,QKD`), ['QKD', 'QKD']);
    }
    for (const method of ['hkdf-sha256', 'hkdf-sha384', 'hkdf-sha3-256'])
      assert.deepEqual(names(`?hybridization=${method}&key_sources=QKD`), ['QKD']);
  });

  for (const [query, words] of [
    ['hybridisation=xoring', ['"hybridisation"', 'did you mean hybridization?']],
    ['key_source=QKD', ['"key_source"', 'did you mean key_sources?']],
    ['KEM_MEC=ML-KEM-768', ['"KEM_MEC"', 'did you mean kem_mec?']],
    ['priority=1', ['"priority"', 'hybridization, kem_mec and key_sources']],
    ['=x', ['""', 'hybridization, kem_mec and key_sources']],
    ['kem_mec=ML-KEM-768&kem_mec=ML-KEM-1024', ['kem_mec', 'more than once']],
    ['hybridization=xoring&hybridization=hmac', ['hybridization', 'more than once']],
    ['key_sources=', ['key_sources', 'names no source']],
    ['key_sources=QKD,,ML-KEM-768', ['key_sources', 'empty name']],
    ['key_sources=QKD,', ['key_sources', 'empty name']],
    ['kem_mec=', ['kem_mec', 'names no KEM']],
    ['hybridization=', ['hybridization', 'names no method']],
  ] as const) {
    it(`refuses ?${query} in words`, () => {
      assert.throws(
        () => terms(`?${query}`),
        (error: Error) => {
          assert.ok(isReason(error, 'UNSUPPORTED', 'NO_ROUTE'), `${error}`);
          for (const word of ['source URI', ...words])
            assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
          return true;
        },
      );
    });
  }

  it('refuses unknown and repeated parameters of the destination, too, whose values do not count', () => {
    for (const query of ['hybridisation=xoring', 'kem_mec=a&kem_mec=b'])
      assert.throws(() => terms('', `hybrid://x@${B}?${query}`), /the destination URI/);
    assert.deepEqual(names(''), ['ML-KEM-768', 'QKD']);
  });

  it('suggests nothing for a name that is like no parameter, and cuts what is long', () => {
    assert.throws(
      () => terms(`?${'y'.repeat(3000)}=1`),
      (error: Error) => !/did you mean/.test(error.message) && error.message.length < 400,
    );
  });

  it('weaves 16 sources', () => assert.equal(names(`?key_sources=${Array(16).fill('QKD')}`).length, 16));

  it('does not blame the URI for a default that nobody knows', () => {
    assert.throws(
      () => parseStreamTerms(`hybrid://x@${A}`, `hybrid://x@${B}`, { ...defaults, keySources: [''] }),
      /UNSUPPORTED: unknown key source ""/,
    );
  });

  it('refuses defaults that name no source', () => {
    assert.throws(
      () => parseStreamTerms(`hybrid://x@${A}`, `hybrid://x@${B}`, { method: 'hkdf-sha384', keySources: [] }),
      (error) => isReason(error, 'UNSUPPORTED'),
    );
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

describe('the slots of a stream', () => {
  const KEM = slotOf('HQC-128');
  const QKD = slotOf('QKD');
  const STAND_IN = standInFor(KEM);
  const of = (...slots: StreamTerms['slots']) => ({ ...terms(''), slots });

  it('have the sizes of their algorithm; QKD and a stand-in exchange nothing', () => {
    assert.deepEqual(KEM, {
      ...{ algorithm: 'HQC-128', revision: 'hqc-round4' },
      ...{ publicKeyBytes: 2249, ciphertextBytes: 4433, sharedSecretBytes: 64 },
    });
    const nothing = { revision: '', publicKeyBytes: 0, ciphertextBytes: 0 };
    assert.deepEqual(QKD, { ...nothing, algorithm: 'QKD', sharedSecretBytes: 32 });
    assert.deepEqual(STAND_IN, { ...nothing, algorithm: 'SHARED-SEED', sharedSecretBytes: 64 });
  });

  it('are pqc-source’s where they are neither QKD nor a stand-in', () =>
    assert.deepEqual([KEM, QKD, STAND_IN].map(isKem), [true, false, false]));

  it('have a stand-in at a place that counts from 0, or none', () => {
    assert.deepEqual([of(KEM, QKD), of(KEM, STAND_IN), of(STAND_IN)].map(standInSlot), [undefined, 1, 0]);
    const { slots } = withEnoughSecrets(
      { ...terms('?hybridization=hmac'), slots: [KEM] },
      { mayDegrade: true },
    );
    assert.deepEqual(slots, [KEM, STAND_IN]);
  });

  it('can do without their QKD slot only beside exactly one KEM', () => {
    assert.deepEqual([of(KEM, QKD), of(QKD, KEM)].map(replaceableSlot), [1, 0]);
    for (const slots of [
      ...[[QKD], [KEM], [QKD, QKD], [KEM, KEM], [QKD, STAND_IN], [KEM, STAND_IN]],
      ...[
        [QKD, KEM, KEM],
        [QKD, QKD, KEM],
      ],
    ])
      assert.equal(replaceableSlot(of(...slots)), undefined, slots.map(({ algorithm }) => algorithm).join());
  });

  it('take QKD keys for each QKD slot but the one that a shared_seed stands in for', () => {
    const list = of(QKD, KEM, QKD);
    assert.deepEqual(
      [undefined, 0, 2].map((standIn) => countQkdSlots(list, standIn)),
      [2, 1, 1],
    );
    assert.equal(countQkdSlots(of(KEM), undefined), 0);
  });
});
