import { hash } from 'node:crypto';
import { ownMemory } from '#common/crypto/bytes.ts';
import { hkdf, hmac } from './hmac-hkdf.ts';
import { lengthPrefixed } from './length-prefixed.ts';

/** Bytes of a confirmation tag (HMAC-SHA-256). */
export const TAG_BYTES = 32;

const SALT = Buffer.from('keyweave v1 confirmation');
const KEY_LABEL = Buffer.from('keyweave v1 confirmation key');
const INITIATOR = Buffer.from('initiator');
const RESPONDER = Buffer.from('responder');

/** The confirmation key while it is used; calls are synchronous, so that one place is enough. */
const key = ownMemory(32);

/**
 * The tags by which each end proves that it holds the same secrets in the
 * same context: HMAC-SHA-256 over role and context hash, under a confirmation
 * key that is separate from the output key and never leaves this function.
 */
export function confirmationTags(
  secrets: readonly Buffer[],
  context: Buffer,
  into: { initiatorTag: Buffer; responderTag: Buffer },
): void {
  const transcript = hash('sha256', context, 'buffer');
  hkdf('sha256', SALT, lengthPrefixed(secrets), [KEY_LABEL, transcript], key);
  into.initiatorTag.set(hmac('sha256', key, INITIATOR, transcript));
  into.responderTag.set(hmac('sha256', key, RESPONDER, transcript));
  key.fill(0);
}
