import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadRequestError } from '../http/bad-request-error.ts';
import { readKeyIds, readKeyRequest, readOneKeyId } from './requests.ts';

const LIMITS = {
  ...{ key_size: 256, min_key_size: 64, max_key_size: 1_024, max_key_per_request: 4, max_sae_id_count: 2 },
};
const ID = 'bc490419-7d60-487f-adc1-4ddcc177c139';
const OTHER = '0a782fb5-3434-48fe-aa4d-14f41d46cf92';

function refusal(act: () => unknown): BadRequestError {
  try {
    act();
  } catch (error) {
    if (error instanceof BadRequestError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

describe('a key request', () => {
  it('has the defaults of the standard', () => {
    const expected = { number: 1, size: 256, additionalSlaves: [] };
    for (const given of [undefined, {}, { number: null, size: null, extension_optional: null }]) {
      assert.deepEqual(readKeyRequest(given, LIMITS), expected);
    }
  });

  it('is read with numbers as texts, unknown members and SAEs that are named twice', () => {
    const given = {
      ...{ number: '4', size: '1024', additional_slave_SAE_IDs: ['b', 'c', 'b'].slice(0, 2), color: 'red' },
      ...{ extension_mandatory: [], extension_optional: [{ x_route: 'any' }] },
    };
    assert.deepEqual(readKeyRequest(given, LIMITS), { number: 4, size: 1_024, additionalSlaves: ['b', 'c'] });
    const twice = { additional_slave_SAE_IDs: ['b', 'b'] };
    assert.deepEqual(readKeyRequest(twice, LIMITS).additionalSlaves, ['b']);
  });

  it('is refused with what is wrong with it', () => {
    for (const [given, message] of [
      ['text', /JSON object/],
      [null, /JSON object/],
      [{ number: -1 }, /number shall be 1 to 4/],
      [{ number: 5 }, /number shall be 1 to 4/],
      [{ number: 1e300 }, /number shall be an integer/],
      [{ number: '1e3' }, /number shall be an integer/],
      [{ number: '99999999999' }, /number shall be an integer/],
      [{ number: true }, /number shall be an integer/],
      [{ size: 257 }, /^size shall be a multiple of 8$/],
      [{ size: 0 }, /size shall be 64 to 1024 bits/],
      [{ size: 1_032 }, /size shall be 64 to 1024 bits/],
      [{ additional_slave_SAE_IDs: ['a', 'b', 'c'] }, /2 members at most/],
      [{ additional_slave_SAE_IDs: [1] }, /array of texts/],
      [{ extension_optional: 'x' }, /extension_optional shall be an array of objects/],
      [{ extension_mandatory: [1] }, /extension_mandatory shall be an array of objects/],
    ] as const) {
      assert.match(refusal(() => readKeyRequest(given, LIMITS)).detail, message);
    }
    const none = refusal(() =>
      readKeyRequest({ additional_slave_SAE_IDs: ['b'] }, { ...LIMITS, max_sae_id_count: 0 }),
    );
    assert.equal(none.detail, 'additional_slave_SAE_IDs is not supported');
  });

  it('names the mandatory extensions that are not supported, as far as they are few and short', () => {
    const many = Array.from({ length: 20 }, (_, i) => ({ [`x_${i}${'y'.repeat(100)}`]: 1 }));
    const { detail, details } = refusal(() => readKeyRequest({ extension_mandatory: many }, LIMITS));
    assert.equal(detail, 'not all extension_mandatory parameters are supported');
    assert.equal(details.length, 8);
    assert.ok(details.every((each) => JSON.stringify(each).length < 150));
    assert.equal(refusal(() => readKeyRequest({ extension_mandatory: [{}] }, LIMITS)).details.length, 0);
  });
});

describe('key IDs', () => {
  it('are read as objects or texts, in letters of either case', () => {
    const given = {
      key_IDs: [{ key_ID: ID.toUpperCase(), key_ID_extension: {} }, OTHER],
      key_IDs_extension: {},
    };
    assert.deepEqual(readKeyIds(given, LIMITS), [ID, OTHER]);
    assert.equal(readOneKeyId({ key_ID: ID }), ID);
  });

  it('are refused with what is wrong with them', () => {
    const one = { key_ID: ID };
    for (const [given, message] of [
      [undefined, /the key IDs shall be a JSON object/],
      [{ key_IDs: one }, /key_IDs shall be an array/],
      [{ key_IDs: [one, {}] }, /key_IDs\[1\]\.key_ID is missing/],
      [{ key_IDs: [one, null] }, /key_IDs\[1\] shall be a JSON object/],
      [{ key_IDs: [one, { key_ID: ID.toUpperCase() }] }, /each key once/],
      [{ key_IDs: [one, one, one, one, one] }, /4 members at most/],
    ] as const) {
      assert.match(refusal(() => readKeyIds(given, LIMITS)).detail, message);
    }
    assert.match(refusal(() => readOneKeyId({})).detail, /key_ID is missing/);
    assert.match(refusal(() => readOneKeyId({ key_ID: [ID, OTHER] })).detail, /no text/);
  });
});
