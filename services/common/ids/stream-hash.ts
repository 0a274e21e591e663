import { createHash } from 'node:crypto';

/** Hexadecimal digits of a hash. */
const DIGITS = 16;

/**
 * A stream's name for traces and the audit log, the same at both nodes: the
 * first 16 digits of the SHA-256 of its Key_stream_ID in text form. It finds a
 * stream again and gives nothing of an ID that may be a bearer token.
 */
export function streamHash(ksid: string): string {
  return createHash('sha256').update(ksid.toLowerCase()).digest('hex').slice(0, DIGITS);
}
