import assert from 'node:assert/strict';
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { kmac256 } from '@noble/hashes/sha3-addons.js';
import { HYBRIDIZATION_METHODS } from '#common/catalogue/methods.ts';
import { casKdf, catKdf } from '../ts103744.ts';
import { BUILT_IN_METHODS } from './built-in-methods.ts';

const CONTEXT = Buffer.from('the chunk');
const SECRETS = [randomBytes(32), randomBytes(24), randomBytes(64)];

function derive(name: string, secrets: readonly Buffer[], bytes: number, context = CONTEXT): Buffer {
  // What was there before must not show.
  const out = Buffer.alloc(bytes, 0xaa);
  BUILT_IN_METHODS.get(name)?.derive(secrets, context, out);
  return out;
}

const sorted = () => SECRETS.toSorted(Buffer.compare);
const hmacOf = ([key = Buffer.alloc(0), ...message]: readonly Buffer[]) =>
  createHmac('sha256', key).update(Buffer.concat(message)).digest();
const xor = (parts: readonly Buffer[], bytes: number) =>
  Buffer.from(
    Array.from({ length: bytes }, (_, i) => parts.reduce((sum, part) => sum ^ (part[i] as number), 0)),
  );

describe('the hybridization methods of this build', () => {
  it('are those of the catalogue', () => {
    assert.deepEqual(
      [...BUILT_IN_METHODS.keys()],
      HYBRIDIZATION_METHODS.map(({ name }) => name),
    );
  });

  it('xoring is the XOR of the first bytes of every secret (NIST SP 800-133r2 clause 6.3)', () => {
    assert.deepEqual(derive('xoring', SECRETS, 24), xor(SECRETS, 24));
  });

  it('hmac is keyed with the lowest secret, over the others, ascending', () => {
    assert.deepEqual(derive('hmac', SECRETS, 32), hmacOf(sorted()));
    assert.deepEqual(derive('hmac', SECRETS, 16), hmacOf(sorted()).subarray(0, 16));
  });

  it('xorhmac adds the one over the descending secrets', () => {
    const both = [hmacOf(sorted()), hmacOf(sorted().reverse())];
    assert.deepEqual(derive('xorhmac', SECRETS, 32), xor(both, 32));
  });

  for (const [name, hash] of [
    ['hkdf-sha256', 'sha256'],
    ['hkdf-sha384', 'sha384'],
    ['hkdf-sha3-256', 'sha3-256'],
  ] as const) {
    it(`${name} is RFC 5869 over every secret behind its length, bound to the context`, () => {
      const keyMaterial = SECRETS.flatMap((secret) => [Buffer.from([0, 0, 0, secret.length]), secret]);
      const expected = hkdfSync(
        hash,
        Buffer.concat(keyMaterial),
        'keyweave v1 hybridization',
        Buffer.concat([Buffer.from('keyweave v1 output key'), CONTEXT]),
        500,
      );
      assert.deepEqual(derive(name, SECRETS, 500), Buffer.from(expected));
      assert.notDeepEqual(derive(name, SECRETS, 500, Buffer.from('another')), Buffer.from(expected));
    });
  }

  it('kmac256 is the one-step derivation of NIST SP 800-56C Rev. 2 with KMAC256', () => {
    const keyMaterial = SECRETS.flatMap((secret) => [Buffer.from([0, 0, 0, secret.length]), secret]);
    const message = [
      Buffer.from([0, 0, 0, 1]),
      ...keyMaterial,
      Buffer.from('keyweave v1 output key'),
      CONTEXT,
    ];
    const expected = kmac256(Buffer.from('keyweave v1 hybridization'), Buffer.concat(message), {
      dkLen: 500,
      personalization: new Uint8Array(Buffer.from('KDF')),
    });
    assert.deepEqual(derive('kmac256', SECRETS, 500), Buffer.from(expected));
  });

  it('catkdf and caskdf are those of ETSI TS 103 744, with the context as both messages', () => {
    const binding = (label: string) => ({
      label: Buffer.from(label),
      info: Buffer.from('keyweave v1 output key'),
      initiatorMessage: CONTEXT,
      responderMessage: CONTEXT,
    });
    const [cat, cas] = [Buffer.alloc(500), Buffer.alloc(500)];
    catKdf('sha384', SECRETS, binding('keyweave v1 catkdf'), cat);
    const rounds = SECRETS.map((secret) => ({ ...binding('keyweave v1 caskdf'), secret }));
    casKdf('sha384', rounds, cas);
    assert.deepEqual(derive('catkdf', SECRETS, 500), cat);
    assert.deepEqual(derive('caskdf', SECRETS, 500), cas);
  });

  it('are bound to the context, all of ours', () => {
    for (const { name, compatible } of HYBRIDIZATION_METHODS) {
      const same = derive(name, SECRETS, 24).equals(derive(name, SECRETS, 24, Buffer.from('another')));
      assert.equal(same, compatible, name);
    }
  });

  it('take the secrets in any order where they are the reference’s, and in the agreed one where they are not', () => {
    for (const { name, ordered } of HYBRIDIZATION_METHODS) {
      const same = derive(name, SECRETS, 24).equals(derive(name, SECRETS.toReversed(), 24));
      assert.equal(same, !ordered, name);
    }
  });

  it('change neither the secrets nor the context', () => {
    const before = [...SECRETS, CONTEXT].map((bytes) => Buffer.from(bytes));
    for (const name of BUILT_IN_METHODS.keys()) derive(name, SECRETS, 24);
    assert.deepEqual([...SECRETS, CONTEXT], before);
  });
});
