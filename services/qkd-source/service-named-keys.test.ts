import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { CONTEXT, FETCH, fetchOne, OPEN, outOfStep, service } from '#test/helpers/qkd-service.ts';
import type { NamedKeys, QkdDriver } from './drivers/qkd-driver.ts';

const refuse: QkdDriver['fetch'] = async () => assert.fail('it numbers no keys');
const NAMES = [Buffer.from('one'), Buffer.from('two')];
const badRequest = (words: RegExp) => (error: unknown) =>
  isReason(error, 'BAD_REQUEST') && words.test(String(error));

/** A service whose driver names its keys, of one byte value each. */
function naming(change: Partial<NamedKeys> = {}) {
  let next = 1;
  const found: (readonly Uint8Array[])[] = [];
  const keysOf = (count: number, keyBytes: number) =>
    Buffer.concat(Array.from({ length: count }, () => Buffer.alloc(keyBytes, next++)));
  const named: NamedKeys = {
    take: async (_, count, keyBytes) => ({
      names: Array.from({ length: count }, (_, i) => Buffer.from(`key ${next + i}`)),
      keys: keysOf(count, keyBytes),
    }),
    find: async (_, names, keyBytes) => {
      found.push(names);
      return keysOf(names.length, keyBytes);
    },
    ...change,
  };
  return { found, ...service(refuse, { named }) };
}

describe('qkd-source service whose key manager names its keys', () => {
  it('gives new keys with their names, in sequence', async () => {
    const { service: qkd } = naming();
    await qkd.openQkd(OPEN, CONTEXT);
    const { results = [] } = await qkd.fetchKeys({ fetches: [FETCH] }, CONTEXT);
    assert.deepEqual(
      results[0]?.keyNames?.map((name) => Buffer.from(name).toString()),
      ['key 1', 'key 2'],
    );
    await assert.rejects(fetchOne(qkd, FETCH), outOfStep);
    await fetchOne(qkd, { ...FETCH, position: 2n });
  });

  it('fetches those that are named, wherever they stand', async () => {
    const { found, service: qkd } = naming();
    await qkd.openQkd(OPEN, CONTEXT);
    for (const position of [40n, 7n]) {
      const keys = await fetchOne(qkd, { ...FETCH, position, keyNames: NAMES });
      assert.equal(keys.length, 64);
    }
    assert.deepEqual(found, [NAMES, NAMES]);
  });

  it('refuses names that are not one for each key, empty or too long', async () => {
    const { found, service: qkd } = naming();
    const named = (keyNames: Uint8Array[]) => fetchOne(qkd, { ...FETCH, keyNames });
    await assert.rejects(named(NAMES.slice(1)), badRequest(/key_names must be 2, not 1/));
    for (const bytes of [0, 161]) {
      await assert.rejects(named([Buffer.alloc(bytes), ...NAMES.slice(1)]), badRequest(/1 to 160 bytes/));
    }
    assert.deepEqual(found, []);
  });

  it('finds a key that was given before, and zeros', async () => {
    const again = naming({ find: async () => Buffer.alloc(64, 9) });
    await assert.rejects(fetchOne(again.service, { ...FETCH, keyNames: NAMES }), /given before/);
    const zeros = naming({ find: async () => Buffer.alloc(64) });
    await assert.rejects(fetchOne(zeros.service, { ...FETCH, keyNames: NAMES }), /key of zeros/);
  });

  it('stands where it stood when surely nothing was taken', async () => {
    let fails = true;
    const { service: qkd } = naming({
      take: async () => {
        if (fails) throw new KeyweaveError('QKD_UNAVAILABLE', 'off');
        return { keys: Buffer.alloc(32, 1), names: NAMES.slice(1) };
      },
    });
    await qkd.openQkd(OPEN, CONTEXT);
    await assert.rejects(fetchOne(qkd, FETCH), /off/);
    fails = false;
    assert.equal((await fetchOne(qkd, FETCH)).length, 32);
  });

  it('says so where its key manager finds none by name', async () => {
    const { service: qkd } = service();
    await assert.rejects(fetchOne(qkd, { ...FETCH, keyNames: NAMES }), (error) =>
      isReason(error, 'QKD_UNAVAILABLE'),
    );
  });
});
