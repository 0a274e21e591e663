import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { kmac128 } from '@noble/hashes/sha3-addons.js';
import { type HashName, hashOf, hmac } from './hmac-hkdf.ts';
import { kmac256 } from './kmac.ts';
import { lengthPrefixed } from './length-prefixed.ts';
import { type Binding, casKdf, casKdfMaxBytes, catKdf } from './ts103744.ts';

interface Row {
  hash: 'sha256' | 'sha384';
  ecdh: number;
  kem: number;
  la1: string;
  lb1: string;
  la2: string;
  lb2: string;
  cids: Record<string, string>;
  keys: Record<string, string>;
}

/** The published vectors of ETSI TS 103 744 V1.2.1 (test/vectors/SOURCES.md). */
const VECTORS = JSON.parse(
  readFileSync(new URL('../../test/vectors/ts103744.json', import.meta.url), 'utf8'),
) as {
  info: string;
  ecdh: { name: string; initiator: string; responder: string; secret: string }[];
  kems: { name: string; publicKey: string; ciphertext: string; secret: string }[];
  rows: Row[];
};

const INFO = Buffer.from(VECTORS.info);
const hex = (text: string) => Buffer.from(text, 'hex');
const of = <T>(list: readonly T[], i: number) => list[i] as T;

/** The messages of the vectors: the suite's number, then fields behind their count of hex digits, a quirk of the generator. */
function message(cid: string, ...fields: Buffer[]): Buffer {
  const counts = fields.map((field) => {
    const digits = Buffer.alloc(4);
    digits.writeUInt32BE(field.length * 2);
    return digits;
  });
  return Buffer.concat([hex(cid), ...fields.flatMap((field, i) => [of(counts, i), field])]);
}

function label(a: string, b: string): Buffer {
  const [one, other] = [hex(a), hex(b)];
  return one.map((byte, i) => byte ^ (other[i] as number)) as Buffer;
}

function exchangesOf(row: Row) {
  const [ecdh, kem] = [of(VECTORS.ecdh, row.ecdh), of(VECTORS.kems, row.kem)];
  return {
    secrets: [hex(ecdh.secret), hex(kem.secret)] as const,
    initiator: [hex(ecdh.initiator), Buffer.from(kem.publicKey, 'base64')] as const,
    responder: [hex(ecdh.responder), Buffer.from(kem.ciphertext, 'base64')] as const,
  };
}

/** What binds the one derivation of CatKDF. */
function catBinding(row: Row, name: string): Binding {
  const { initiator, responder } = exchangesOf(row);
  const cid = row.cids[name] as string;
  return {
    label: label(row.la1, row.lb1),
    info: INFO,
    initiatorMessage: message(cid, hex(row.la1), ...initiator),
    responderMessage: message(cid, hex(row.lb1), ...responder),
  };
}

/** What binds the two rounds of CasKDF. */
function casRounds(row: Row, name: string) {
  const { secrets, initiator, responder } = exchangesOf(row);
  const cid = row.cids[name] as string;
  return ([0, 1] as const).map((i) => {
    const [la, lb] = i === 0 ? [row.la1, row.lb1] : [row.la2, row.lb2];
    return {
      secret: secrets[i],
      label: label(la, lb),
      info: INFO,
      initiatorMessage: message(cid, hex(la), initiator[i]),
      responderMessage: message(cid, hex(lb), responder[i]),
    };
  });
}

const filled = (bytes: number, fill: (out: Buffer) => void) => {
  const out = Buffer.alloc(bytes, 0xaa);
  fill(out);
  return out.toString('hex');
};

const NO_CUSTOMIZATION = Buffer.alloc(0);
const KDF = Buffer.from('KDF');
const ONE = Buffer.from([0, 0, 0, 1]);

/** The two other KDFs of the specification from this service's primitives (clauses 7.4.3, 7.4.4; PRFs 7.3.2, 7.3.3). */
const OTHERS = {
  hmac: {
    chainZeros: () => 0,
    kdf: (hash: HashName, key: Buffer, secret: Buffer, context: Buffer, bytes: number) => {
      const blocks: Buffer[] = [];
      for (let i = 1; blocks.length * (hash === 'sha256' ? 32 : 48) < bytes; i++)
        blocks.push(hmac(hash, key, Buffer.from([0, 0, 0, i]), secret, context));
      return Buffer.concat(blocks).subarray(0, bytes);
    },
    prf: (hash: HashName, chain: Buffer, message: Uint8Array[]) =>
      hmac(hash, chain, hashOf(hash, ...message)),
    context: (hash: HashName, parts: Uint8Array[]) => hashOf(hash, ...parts),
  },
  kmac: {
    chainZeros: (hash: HashName) => (hash === 'sha256' ? 32 : 48),
    kdf: (hash: HashName, key: Buffer, secret: Buffer, context: Buffer, bytes: number) =>
      keccakMac(hash, key, KDF, [ONE, secret, context], bytes),
    prf: (hash: HashName, chain: Buffer, message: Uint8Array[]) =>
      keccakMac(hash, chain, NO_CUSTOMIZATION, message, hash === 'sha256' ? 32 : 48),
    context: (_hash: HashName, parts: Uint8Array[]) => Buffer.concat(parts),
  },
};

function keccakMac(
  hash: HashName,
  key: Buffer,
  customization: Buffer,
  parts: Uint8Array[],
  bytes: number,
): Buffer {
  const out = Buffer.alloc(bytes);
  if (hash !== 'sha256') kmac256(key, customization, parts, out);
  else
    out.set(
      kmac128(key, Buffer.concat(parts), { dkLen: bytes, personalization: new Uint8Array(customization) }),
    );
  return out;
}

describe('the 72 vectors of ETSI TS 103 744 V1.2.1', () => {
  it('are all there', () => {
    assert.equal(
      VECTORS.rows.reduce((count, { keys }) => count + Object.keys(keys).length, 0),
      72,
    );
  });

  for (const [i, row] of VECTORS.rows.entries()) {
    const { hash, keys } = row;
    const bytes = (keys['cat-hkdf'] as string).length / 2;
    const suite = `row ${i + 1}, ${of(VECTORS.ecdh, row.ecdh).name} and ${of(VECTORS.kems, row.kem).name}`;
    const { secrets } = exchangesOf(row);

    it(`${suite}: CatKDF by HKDF with ${hash}`, () => {
      const made = filled(bytes, (out) => catKdf(hash, secrets, catBinding(row, 'cat-hkdf'), out));
      assert.equal(made, keys['cat-hkdf']);
    });

    it(`${suite}: CasKDF by HKDF with ${hash}`, () => {
      const made = filled(bytes, (out) => casKdf(hash, casRounds(row, 'cas-hkdf'), out));
      assert.equal(made, keys['cas-hkdf']);
    });

    for (const [name, { kdf, prf, context, chainZeros }] of Object.entries(OTHERS)) {
      it(`${suite}: CatKDF by ${name}, of the same primitives`, () => {
        const binding = catBinding(row, `cat-${name}`);
        const { initiatorMessage, responderMessage } = binding;
        const bound = context(hash, lengthPrefixed([INFO, initiatorMessage, responderMessage]));
        const made = kdf(hash, binding.label as Buffer, Buffer.concat(secrets), bound, bytes);
        assert.equal(made.toString('hex'), keys[`cat-${name}`]);
      });

      it(`${suite}: CasKDF by ${name}, of the same primitives`, () => {
        let chain: Buffer = Buffer.alloc(chainZeros(hash));
        const chainBytes = hash === 'sha256' ? 32 : 48;
        let key: Buffer = Buffer.alloc(0);
        for (const round of casRounds(row, `cas-${name}`)) {
          const { secret, initiatorMessage, responderMessage } = round;
          const mixed = prf(hash, chain, lengthPrefixed([secret, initiatorMessage, responderMessage]));
          const made = kdf(hash, round.label, mixed, INFO, chainBytes + bytes);
          chain = Buffer.from(made.subarray(0, chainBytes));
          key = made.subarray(chainBytes);
        }
        assert.equal(key.toString('hex'), keys[`cas-${name}`]);
      });
    }
  }
});

describe('CatKDF and CasKDF of two small secrets', () => {
  const counting = (from: number) => Buffer.from(Array.from({ length: 32 }, (_, i) => from + i));
  const secrets = [counting(0), counting(32)];
  const binding: Binding = {
    label: Buffer.from('label'),
    info: Buffer.from('synthetic'),
    initiatorMessage: Buffer.from('MA'),
    responderMessage: Buffer.from('MB'),
  };
  const rounds = secrets.map((secret) => ({ ...binding, secret }));
  // From an implementation of its own, which gives the 72 published vectors too.
  const EXPECTED = {
    sha256: [
      '0b09fa88fef1206b7dcbeb0d9b2d41ef327834ee5d8636a9434ee002d9f9c46f',
      '1b5ab20fdc90e3054bfdb2754e6acf97327653603d5473a2e47188166b1439a0',
    ],
    sha384: [
      '9fb6b4b321fc90f8ddfa1075de8db7023df41fbadb0020c5d3769821d6426734',
      '1ff3d410064324c55209b099aa70aa450b1b6929a6a6ae6911d4d61c5b40d7c3',
    ],
  } as const;
  for (const [hash, [cat, cas]] of Object.entries(EXPECTED) as [HashName, readonly [string, string]][]) {
    it(`by ${hash}`, () => {
      assert.equal(
        filled(32, (out) => catKdf(hash, secrets, binding, out)),
        cat,
      );
      assert.equal(
        filled(32, (out) => casKdf(hash, rounds, out)),
        cas,
      );
    });
  }

  it('change with every part of what binds them, in every round', () => {
    const names = ['label', 'info', 'initiatorMessage', 'responderMessage'] as const;
    const [cat, cas] = EXPECTED.sha384;
    for (const name of names) {
      const other = { ...binding, [name]: randomBytes(8) };
      assert.notEqual(
        filled(32, (out) => catKdf('sha384', secrets, other, out)),
        cat,
        name,
      );
      for (const i of [0, 1]) {
        const changed = rounds.map((round, at) => (at === i ? { ...round, ...other } : round));
        assert.notEqual(
          filled(32, (out) => casKdf('sha384', changed, out)),
          cas,
          `${name} of round ${i}`,
        );
      }
    }
  });

  it('CasKDF takes any number of secrets, each in its place', () => {
    const one = filled(48, (out) => casKdf('sha384', rounds.slice(0, 1), out));
    const three = filled(48, (out) => casKdf('sha384', [...rounds, of(rounds, 0)], out));
    const turned = filled(48, (out) => casKdf('sha384', rounds.toReversed(), out));
    assert.equal(new Set([one, three, turned, EXPECTED.sha384[1]]).size, 4);
  });

  it('give what their hash allows at most, and refuse more', () => {
    for (const hash of ['sha256', 'sha384'] as const) {
      const most = casKdfMaxBytes(hash);
      casKdf(hash, rounds, Buffer.alloc(most));
      assert.throws(() => casKdf(hash, rounds, Buffer.alloc(most + 1)), RangeError);
    }
  });

  it('agree with HMAC by the run time itself on the inner hash of a round', () => {
    const inner = hashOf('sha256', ...lengthPrefixed([of(secrets, 0), Buffer.from('MA'), Buffer.from('MB')]));
    assert.deepEqual(
      hmac('sha256', Buffer.alloc(0), inner),
      createHmac('sha256', Buffer.alloc(0)).update(inner).digest(),
    );
  });
});
