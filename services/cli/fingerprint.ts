import { hash } from 'node:crypto';

/** First bytes of the key's SHA-256: enough to compare by eye, useless as a key. */
export function fingerprint(key: Buffer): string {
  return hash('sha256', key, 'hex').slice(0, 16);
}
