import { type HashName, hkdf } from '../hmac-hkdf.ts';
import { lengthPrefixed } from '../length-prefixed.ts';
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
