import { kmac256 as mac } from '../kmac.ts';
import { lengthPrefixed } from '../length-prefixed.ts';
import type { HybridizationMethod } from './method.ts';

/** The salt of the derivation, as that of the HKDF methods. */
const SALT = Buffer.from('keyweave v1 hybridization');
const OUTPUT_LABEL = Buffer.from('keyweave v1 output key');
/** SP 800-56C has a counter of 1 alone: KMAC gives any length at once. */
const COUNTER = Buffer.from([0, 0, 0, 1]);
const CUSTOMIZATION = Buffer.from('KDF');

/**
 * One-step key derivation with KMAC256 (NIST SP 800-56C Rev. 2 clause 4,
 * option 3) over all secrets in the agreed order, each with its length in
 * front, bound to the chunk's context.
 */
export const kmac256: HybridizationMethod = {
  name: 'kmac256',
  derive(secrets, context, out) {
    mac(SALT, CUSTOMIZATION, [COUNTER, ...lengthPrefixed(secrets), OUTPUT_LABEL, context], out);
  },
};
