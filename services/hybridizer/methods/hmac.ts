import { hmac as hmacSha } from '../hmac-hkdf.ts';
import { ascending, type HybridizationMethod } from './method.ts';

/** The reference's `hmac`: the lowest secret is the key, the rest, ascending, the message (NIST SP 800-133r2 §6.3 option 3). */
export const hmac: HybridizationMethod = {
  name: 'hmac',
  derive(secrets, _context, out) {
    const mac = hmacOf(ascending(secrets));
    mac.copy(out);
    mac.fill(0);
  },
};

/** HMAC-SHA-256 keyed with the first of `secrets` over the others. The caller wipes it. */
export function hmacOf(secrets: readonly Buffer[]): Buffer {
  const [first = Buffer.alloc(0), ...rest] = secrets;
  return hmacSha('sha256', first, ...rest);
}
