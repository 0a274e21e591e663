import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** The text form of a UUID's 16 bytes in network order (RFC 9562). @throws KeyweaveError BAD_REQUEST */
export function uuidText(what: string, bytes: Uint8Array): string {
  if (bytes.length !== 16) throw new KeyweaveError('BAD_REQUEST', `${what} must be 16 bytes long`);
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
