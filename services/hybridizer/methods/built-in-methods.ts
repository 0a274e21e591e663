import { caskdf, catkdf } from './etsi-hybrid.ts';
import { createHkdfMethod } from './hkdf.ts';
import { hmac } from './hmac.ts';
import { kmac256 } from './kmac256.ts';
import type { HybridizationMethod } from './method.ts';
import { xorhmac } from './xorhmac.ts';
import { xoring } from './xoring.ts';

/** Every method that this build has, by name: the only place that lists them. */
export const BUILT_IN_METHODS: ReadonlyMap<string, HybridizationMethod> = new Map(
  [
    xoring,
    hmac,
    xorhmac,
    createHkdfMethod('hkdf-sha256', 'sha256'),
    createHkdfMethod('hkdf-sha384', 'sha384'),
    createHkdfMethod('hkdf-sha3-256', 'sha3-256'),
    kmac256,
    catkdf,
    caskdf,
  ].map((method) => [method.name, method]),
);
