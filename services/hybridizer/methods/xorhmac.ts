import { hmacOf } from './hmac.ts';
import { ascending, type HybridizationMethod } from './method.ts';

/** The reference's `xorhmac`: HMAC over the ascending secrets XOR HMAC over the descending ones. */
export const xorhmac: HybridizationMethod = {
  name: 'xorhmac',
  derive(secrets, _context, out) {
    const sorted = ascending(secrets);
    const up = hmacOf(sorted);
    const down = hmacOf(sorted.reverse());
    for (let i = 0; i < out.length; i++) out[i] = (up[i] as number) ^ (down[i] as number);
    up.fill(0);
    down.fill(0);
  },
};
