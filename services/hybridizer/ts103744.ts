import { ownMemory } from '#common/crypto/bytes.ts';
import { HASHES, type HashName, hashOf, hkdf, hmac } from './hmac-hkdf.ts';
import { lengthPrefixed } from './length-prefixed.ts';

/**
 * The two key derivations of ETSI TS 103 744 V1.2.1 (2025-03) for hybrid key
 * exchanges, with HKDF as their KDF (clause 7.4.2) and HMAC as their PRF
 * (clause 7.3.2). Without psk: everything that two nodes share goes in as a
 * secret of its own.
 */

/** What binds a derivation, or one round of it, to its exchange (clause 7.2). */
export interface Binding {
  readonly label: Uint8Array;
  readonly info: Uint8Array;
  /** Message of the initiator, MA, and of the responder, MB, in full. */
  readonly initiatorMessage: Uint8Array;
  readonly responderMessage: Uint8Array;
}

/** One round of the cascade: a secret, and what binds the round. */
export interface CascadeRound extends Binding {
  readonly secret: Uint8Array;
}

/** The largest output of `casKdf`, bytes: RFC 5869's 255 blocks, one of which is the chain's. */
export function casKdfMaxBytes(hash: HashName): number {
  return 254 * HASHES[hash].bytes;
}

/**
 * CatKDF (clause 8.2): the KDF of all secrets end to end. Their lengths must
 * be fixed by what both ends have agreed on, since nothing parts them.
 *
 * @throws RangeError where `out` is longer than 255 blocks of the hash.
 */
export function catKdf(hash: HashName, secrets: readonly Uint8Array[], binding: Binding, out: Buffer): void {
  const { label, info, initiatorMessage, responderMessage } = binding;
  const context = hashOf(hash, ...lengthPrefixed([info, initiatorMessage, responderMessage]));
  hkdf(hash, label, secrets, [context], out);
  context.fill(0);
}

/**
 * CasKDF (clause 8.3): each round takes the chain of the last one and a secret,
 * and gives the next chain; `out` is the key of the last round. The keys of
 * the earlier ones nobody uses, and they are not made.
 *
 * @throws RangeError where `out` is longer than `casKdfMaxBytes`.
 */
export function casKdf(hash: HashName, rounds: readonly CascadeRound[], out: Buffer): void {
  const chainBytes = HASHES[hash].bytes;
  let chain: Buffer = Buffer.alloc(0);
  for (const [i, round] of rounds.entries()) {
    const { secret, label, info, initiatorMessage, responderMessage } = round;
    const inner = hashOf(hash, ...lengthPrefixed([secret, initiatorMessage, responderMessage]));
    const roundSecret = hmac(hash, chain, inner);
    inner.fill(0);
    const isLast = i === rounds.length - 1;
    const made = ownMemory(chainBytes + (isLast ? out.length : 0));
    try {
      hkdf(hash, label, [roundSecret], [info], made);
      if (isLast) made.copy(out, 0, chainBytes);
    } finally {
      roundSecret.fill(0);
      chain.fill(0);
      if (isLast) made.fill(0);
    }
    chain = made;
  }
}
