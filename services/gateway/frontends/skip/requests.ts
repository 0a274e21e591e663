import type { NodeConfig } from '#common/config/node-config.ts';
import { uuidText } from '#common/ids/uuid.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import type { Query } from '../http/request-target.ts';

export type SkipSettings = NonNullable<NodeConfig['listeners']['skip']>;

type Sizes = Pick<SkipSettings, 'key_size' | 'min_key_size' | 'max_key_size'>;

/** Bits of entropy of one answer. */
const DEFAULT_ENTROPY = 256;
const MOST_ENTROPY = 4_096;

const KEY_ID = /^[0-9a-f]{32}$/i;

/** Reads `remoteSystemID`, which some write in other letters. @throws BadRequestError */
export function readRemoteSystem(query: Query): string {
  const id = memberOf(query, 'remoteSystemID');
  if (id === undefined || id === '') throw new BadRequestError('remoteSystemID is missing');
  return id;
}

/** Reads `size`, bits of a key. @throws BadRequestError */
export function readSize(query: Query, { key_size, min_key_size: least, max_key_size: most }: Sizes): number {
  const size = bitsOf('size', memberOf(query, 'size'), key_size);
  if (size % 8 !== 0) throw new BadRequestError('size shall be a multiple of 8');
  if (size >= least && size <= most) return size;
  throw new BadRequestError(`size shall be ${least} to ${most} bits`);
}

/** Reads `minentropy`, bits. @throws BadRequestError */
export function readMinEntropy(query: Query): number {
  const bits = bitsOf('minentropy', memberOf(query, 'minentropy'), DEFAULT_ENTROPY);
  if (bits >= 1 && bits <= MOST_ENTROPY) return bits;
  throw new BadRequestError(`minentropy shall be 1 to ${MOST_ENTROPY} bits`);
}

/** A keyId of a path as a UUID in lower case, as the streams name keys. @throws BadRequestError */
export function readKeyId(text: string): string {
  if (!KEY_ID.test(text)) throw new BadRequestError('a keyId has 32 hexadecimal digits');
  return uuidText('keyId', Buffer.from(text, 'hex'));
}

/** A member of a query, whose name is read in letters of either case. */
function memberOf(query: Query, name: string): string | undefined {
  const lower = name.toLowerCase();
  const found = Object.keys(query).filter((each) => each.toLowerCase() === lower);
  if (found.length > 1) throw new BadRequestError(`${name} stands in the query twice`);
  return found[0] === undefined ? undefined : query[found[0]];
}

function bitsOf(what: string, text: string | undefined, byDefault: number): number {
  if (text === undefined) return byDefault;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new BadRequestError(`${what} shall be a number of bits`);
}
