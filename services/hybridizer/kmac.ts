import { kmac256 as keccakMac } from '@noble/hashes/sha3-addons.js';

/**
 * KMAC256 (NIST SP 800-185 clause 4) over the parts in order, as many bytes as
 * `out` has. node:crypto gives no KMAC. The sponge, through which the parts
 * have gone, is wiped.
 */
export function kmac256(
  key: Uint8Array,
  customization: Uint8Array,
  parts: readonly Uint8Array[],
  out: Buffer,
): void {
  const mac = keccakMac.create(key, { dkLen: out.length, personalization: customization });
  for (const part of parts) mac.update(part);
  mac.digestInto(out);
  mac.destroy();
}
