import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** The text form of a UUID (RFC 9562), in lower case, for larger patterns. */
export const UUID_PATTERN = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';

/** Exactly that. */
export const UUID = new RegExp(`^${UUID_PATTERN}$`);

/** The same in letters of either case, as people write it. */
export const UUID_ANY_CASE = new RegExp(`^${UUID_PATTERN.replaceAll('a-f', 'a-fA-F')}$`);

/** The text form of a UUID's 16 bytes in network order (RFC 9562). @throws KeyweaveError BAD_REQUEST */
export function uuidText(what: string, bytes: Uint8Array): string {
  if (bytes.length !== 16) throw new KeyweaveError('BAD_REQUEST', `${what} must be 16 bytes long`);
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
