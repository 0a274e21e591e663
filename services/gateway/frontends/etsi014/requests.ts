import type { NodeConfig } from '#common/config/node-config.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import { readKeyId } from '../named-keys/key-ids.ts';

/** Names of extensions that an answer repeats, at most. */
const MAX_NAMED = 8;
const MAX_NAME_CHARS = 64;

export type RestSettings = NonNullable<NodeConfig['listeners']['rest']>;

/** What a key request asks for (ETSI GS QKD 014 V1.1.1, Table 10), with the defaults in. */
export interface KeyRequest {
  readonly number: number;
  /** Bits, a multiple of 8. */
  readonly size: number;
  /** Each once, in the order given. */
  readonly additionalSlaves: readonly string[];
}

type Limits = Pick<
  RestSettings,
  'key_size' | 'min_key_size' | 'max_key_size' | 'max_key_per_request' | 'max_sae_id_count'
>;

/** What of a request is read. */
type Members = Readonly<
  Partial<
    Record<
      | 'number'
      | 'size'
      | 'additional_slave_SAE_IDs'
      | 'extension_mandatory'
      | 'extension_optional'
      | 'key_IDs'
      | 'key_ID',
      unknown
    >
  >
>;

/**
 * Reads a key request: the JSON of a POST, or the query of a GET, whose
 * numbers are texts. Members that nobody knows are passed over.
 *
 * @param given undefined for a POST without a body.
 * @throws BadRequestError in the standard's words where it has some.
 */
export function readKeyRequest(given: unknown, limits: Limits): KeyRequest {
  const members = given === undefined ? {} : object('the key request', given);
  assertExtensions(members.extension_mandatory, members.extension_optional);
  const number = integer('number', members.number, 1);
  if (number < 1 || number > limits.max_key_per_request) {
    throw new BadRequestError(`number shall be 1 to ${limits.max_key_per_request}`, [
      { number: `${number} keys cannot be had at once` },
    ]);
  }
  const size = integer('size', members.size, limits.key_size);
  if (size % 8 !== 0) throw new BadRequestError('size shall be a multiple of 8');
  if (size < limits.min_key_size || size > limits.max_key_size) {
    throw new BadRequestError(`size shall be ${limits.min_key_size} to ${limits.max_key_size} bits`, [
      { size: `keys of ${size} bits cannot be had` },
    ]);
  }
  return {
    number,
    size,
    additionalSlaves: saeIds(members.additional_slave_SAE_IDs, limits.max_sae_id_count),
  };
}

/**
 * Reads the key IDs of a POST (Table 12), in lower case, in the order given.
 *
 * @throws BadRequestError
 */
export function readKeyIds(given: unknown, { max_key_per_request: most }: Limits): string[] {
  const list = object('the key IDs', given).key_IDs;
  if (!Array.isArray(list) || list.length === 0) {
    throw new BadRequestError('key_IDs shall be an array of one object or more, each with a key_ID');
  }
  if (list.length > most) throw new BadRequestError(`key_IDs shall have ${most} members at most`);
  const ids = list.map((each, i) => {
    // Some send the texts alone.
    const id = typeof each === 'string' ? each : object(`key_IDs[${i}]`, each).key_ID;
    return keyId(`key_IDs[${i}].key_ID`, id);
  });
  if (new Set(ids).size < ids.length) throw new BadRequestError('key_IDs shall name each key once');
  return ids;
}

/** Reads the key ID of a GET. @throws BadRequestError */
export function readOneKeyId(query: unknown): string {
  return keyId('key_ID', object('the query', query).key_ID);
}

function keyId(what: string, given: unknown): string {
  if (typeof given !== 'string') throw new BadRequestError(`${what} is missing, or no text`);
  const id = readKeyId(given);
  if (id === undefined) throw new BadRequestError(`${what} is no UUID`);
  return id;
}

function object(what: string, given: unknown): Members {
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given as Members;
  throw new BadRequestError(`${what} shall be a JSON object`);
}

/** A number, or the text of one as queries have it and some bodies, too. */
function integer(what: string, given: unknown, byDefault: number): number {
  if (given === undefined || given === null) return byDefault;
  const value = typeof given === 'string' && /^\d{1,10}$/.test(given) ? Number(given) : given;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  throw new BadRequestError(`${what} shall be an integer`);
}

function saeIds(given: unknown, most: number): readonly string[] {
  if (given === undefined || given === null) return [];
  if (!Array.isArray(given) || !given.every((id) => typeof id === 'string')) {
    throw new BadRequestError('additional_slave_SAE_IDs shall be an array of texts');
  }
  if (given.length > most) {
    throw new BadRequestError(
      most === 0
        ? 'additional_slave_SAE_IDs is not supported'
        : `additional_slave_SAE_IDs shall have ${most} members at most`,
    );
  }
  return [...new Set(given as string[])];
}

/** None is known: what is mandatory cannot be done, what is optional is passed over (clause 6.2 of the standard). */
function assertExtensions(mandatory: unknown, optional: unknown): void {
  for (const [what, given] of [
    ['extension_mandatory', mandatory],
    ['extension_optional', optional],
  ] as const) {
    if (given === undefined || given === null) continue;
    if (!Array.isArray(given) || !given.every((each) => typeof each === 'object' && each !== null)) {
      throw new BadRequestError(`${what} shall be an array of objects`);
    }
  }
  const names = ((mandatory ?? []) as object[]).flatMap((each) => Object.keys(each));
  if (((mandatory ?? []) as object[]).length === 0) return;
  throw new BadRequestError(
    'not all extension_mandatory parameters are supported',
    names.slice(0, MAX_NAMED).map((name) => ({
      extension_mandatory_unsupported: `${name.slice(0, MAX_NAME_CHARS)} is not supported`,
    })),
  );
}
