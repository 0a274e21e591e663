import type { HybridizationMethod } from './method.ts';

/** The reference's `xoring`: XOR of the first bytes of every secret (NIST SP 800-133r2 §6.3 option 2). */
export const xoring: HybridizationMethod = {
  name: 'xoring',
  derive(secrets, _context, out) {
    out.fill(0);
    for (const secret of secrets) {
      for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) ^ (secret[i] as number);
    }
  },
};
