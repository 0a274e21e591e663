import { type Binding, casKdf, catKdf } from '../ts103744.ts';
import type { HybridizationMethod } from './method.ts';

/** One hash for all: it holds what KEMs of NIST category 5 and QKD keys of 32 bytes bring. */
const HASH = 'sha384';

const INFO = Buffer.from('keyweave v1 output key');
const CAT_LABEL = Buffer.from('keyweave v1 catkdf');
const CAS_LABEL = Buffer.from('keyweave v1 caskdf');

/** CatKDF with HKDF-SHA-384 (ETSI TS 103 744 V1.2.1 clause 8.2) over the secrets in the agreed order. */
export const catkdf: HybridizationMethod = {
  name: 'catkdf',
  derive(secrets, context, out) {
    catKdf(HASH, secrets, bindingOf(CAT_LABEL, context), out);
  },
};

/** CasKDF with HKDF-SHA-384 (ETSI TS 103 744 V1.2.1 clause 8.3), a round for each secret in the agreed order. */
export const caskdf: HybridizationMethod = {
  name: 'caskdf',
  derive(secrets, context, out) {
    const binding = bindingOf(CAS_LABEL, context);
    casKdf(
      HASH,
      secrets.map((secret) => ({ ...binding, secret })),
      out,
    );
  },
};

/**
 * The context of the chunk stands for both messages: it names both nodes and
 * applications and holds the digest of every public key, which the initiator
 * has sent, and of every ciphertext, which the responder has.
 */
function bindingOf(label: Buffer, context: Buffer): Binding {
  return { label, info: INFO, initiatorMessage: context, responderMessage: context };
}
