import { ETSI014_BASE_PATH } from '#common/etsi/etsi014.ts';
import type { ObjectSchema, Operation } from './openapi.ts';
import type { RestSettings } from './requests.ts';

type Limits = Pick<
  RestSettings,
  'key_size' | 'min_key_size' | 'max_key_size' | 'max_key_per_request' | 'max_sae_id_count'
>;

/** Where the API's resources are. */
export const RESOURCES = {
  status: `${ETSI014_BASE_PATH}/{slave_SAE_ID}/status`,
  encKeys: `${ETSI014_BASE_PATH}/{slave_SAE_ID}/enc_keys`,
  decKeys: `${ETSI014_BASE_PATH}/{master_SAE_ID}/dec_keys`,
} as const;

const text = (description: string) => ({ type: 'string', description });
const integer = (description: string, more: object = {}) => ({ type: 'integer', description, ...more });
const extension = (description: string) => ({ type: 'object', description, additionalProperties: true });
const object = (properties: ObjectSchema['properties'], required: readonly string[] = []) => ({
  type: 'object',
  properties,
  required,
});

const STATUS_MEMBERS = {
  source_KME_ID: text('UUID of this node'),
  target_KME_ID: text("UUID of the slave SAE's node"),
  master_SAE_ID: text('SAE that calls'),
  slave_SAE_ID: text('SAE that the keys are shared with'),
  key_size: integer('bits of a key where a request names no size'),
  stored_key_count: integer('keys of that size that are ready'),
  max_key_count: integer('keys of that size that are held at most'),
  max_key_per_request: integer('largest number of a request'),
  max_key_size: integer('bits'),
  min_key_size: integer('bits'),
  max_SAE_ID_count: integer('additional slave SAEs of a request at most; 0: none'),
};

const KEYS = object(
  {
    keys: {
      type: 'array',
      items: object(
        { key_ID: { ...text('UUID of the key'), format: 'uuid' }, key: text('the key in base64') },
        ['key_ID', 'key'],
      ),
    },
  },
  ['keys'],
);

const ERROR = object(
  {
    message: text('what is wrong'),
    details: { type: 'array', items: { type: 'object', additionalProperties: { type: 'string' } } },
  },
  ['message'],
);

const answers = (description: string, answer: object) => ({
  200: { description, ...answer },
  400: { description: 'Bad request', ...ERROR },
  401: { description: 'Unauthorized', ...ERROR },
  503: {
    description: 'Error of server side: no key at the moment, or the other node cannot be reached',
    ...ERROR,
  },
});

const KEY_IDS = object(
  {
    key_IDs: {
      type: 'array',
      minItems: 1,
      items: object(
        {
          key_ID: { ...text('UUID of the key'), format: 'uuid' },
          key_ID_extension: extension('passed over'),
        },
        ['key_ID'],
      ),
    },
    key_IDs_extension: extension('passed over'),
  },
  ['key_IDs'],
);

const inPath = (name: string, description: string) => object({ [name]: text(description) }, [name]);

/**
 * What the methods of ETSI GS QKD 014 V1.1.1 take and answer, for the OpenAPI
 * document. What is read is checked in `requests.ts`, which has the standard's
 * words and is more lenient than this.
 */
export function operationsOf(limits: Limits): readonly Operation[] {
  const number = integer('how many keys', { minimum: 1, maximum: limits.max_key_per_request, default: 1 });
  const size = integer('bits of each key', {
    minimum: limits.min_key_size,
    maximum: limits.max_key_size,
    multipleOf: 8,
    default: limits.key_size,
  });
  const slave = inPath('slave_SAE_ID', 'SAE ID of the slave SAE, URL-encoded');
  const master = inPath('master_SAE_ID', 'SAE ID of the master SAE, URL-encoded');
  const keyRequest = object({
    ...{ number, size },
    additional_slave_SAE_IDs: {
      type: 'array',
      items: { type: 'string' },
      maxItems: limits.max_sae_id_count,
      description: 'further SAEs at the same node that get the same keys',
    },
    extension_mandatory: { type: 'array', items: extension('none is supported'), maxItems: 0 },
    extension_optional: { type: 'array', items: extension('passed over') },
  });
  return [
    {
      ...{ verb: 'GET', path: RESOURCES.status, summary: 'Get status', operationId: 'getStatus' },
      params: slave,
      responses: answers('Status', object(STATUS_MEMBERS, Object.keys(STATUS_MEMBERS))),
    },
    {
      ...{ verb: 'GET', path: RESOURCES.encKeys, summary: 'Get key', operationId: 'getKey' },
      ...{ params: slave, query: object({ number, size }) },
      responses: answers('Key container', KEYS),
    },
    {
      ...{ verb: 'POST', path: RESOURCES.encKeys, summary: 'Get key', operationId: 'postGetKey' },
      ...{ params: slave, body: keyRequest },
      responses: answers('Key container', KEYS),
    },
    {
      ...{ verb: 'GET', path: RESOURCES.decKeys, summary: 'Get key with key IDs' },
      ...{ operationId: 'getKeyWithKeyId', params: master },
      query: object({ key_ID: { ...text('UUID of the key'), format: 'uuid' } }, ['key_ID']),
      responses: answers('Key container', KEYS),
    },
    {
      ...{ verb: 'POST', path: RESOURCES.decKeys, summary: 'Get key with key IDs' },
      ...{ operationId: 'postGetKeyWithKeyIds', params: master, body: KEY_IDS },
      responses: answers('Key container', KEYS),
    },
  ];
}
