import { type HashName, hkdf } from '../hmac-hkdf.ts';
import type { HybridizationMethod } from './method.ts';

const SALT = Buffer.from('keyweave v1 hybridization');
const OUTPUT_LABEL = Buffer.from('keyweave v1 output key');

/**
 * HKDF (RFC 5869) over all secrets in the agreed order, each with its length
 * in front, bound to the chunk's context.
 */
export function createHkdfMethod(name: string, hash: HashName): HybridizationMethod {
  return {
    name,
    derive(secrets, context, out) {
      hkdf(hash, SALT, lengthPrefixed(secrets), [OUTPUT_LABEL, context], out);
    },
  };
}

/** Lengths as u32, big-endian; there are few, and every chunk needs them. */
const LENGTHS = new Map<number, Buffer>();

/** Each secret behind its length as u32, big-endian, without copying the secret. */
export function lengthPrefixed(secrets: readonly Buffer[]): Buffer[] {
  const parts: Buffer[] = [];
  for (const secret of secrets) {
    let length = LENGTHS.get(secret.length);
    if (length === undefined) {
      length = Buffer.alloc(4);
      length.writeUInt32BE(secret.length);
      LENGTHS.set(secret.length, length);
    }
    parts.push(length, secret);
  }
  return parts;
}
