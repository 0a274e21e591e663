import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { QuotaConfig } from '#common/config/access/access-section.ts';
import { Secret } from '#common/crypto/secret.ts';
import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB, CAROL, configOf } from '#test/helpers/openings.ts';
import { REST_SETTINGS } from '#test/helpers/sae-streams.ts';
import type { Owner } from '../../streams/owner.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import { ETSI014_KEYS } from '../named-keys/key-kinds.ts';
import type { Wanted } from '../named-keys/master-streams.ts';
import { Parties, type Party } from '../named-keys/parties.ts';
import { PartyQuotas } from '../named-keys/party-quotas.ts';
import type { Found } from '../named-keys/slave-streams.ts';
import type { TakenKey } from '../named-keys/taken-keys.ts';
import type { Caller } from '../named-keys/waiting-calls.ts';
import { NotEntitledError, RestCalls } from './calls.ts';

const ID = 'bc490419-7d60-487f-adc1-4ddcc177c139';
const taken = (): TakenKey => ({ id: ID, key: new Secret(Buffer.alloc(32, 1)) });

const saes = new Parties(ALICE, { ...REST_SETTINGS.saes, c: { node: CAROL } }, 'keyweave');

/** What whoever counts refusals was told. */
let told: { owner: Owner; error: KeyweaveError }[] = [];
beforeEach(() => {
  told = [];
});

/** Without a section of access, or with one that gives everyone the same quota; SAE a2 has one of its own. */
function quotasOf(defaults: QuotaConfig = {}, clock = new FakeClock()): PartyQuotas {
  const parties = { ...REST_SETTINGS.saes, a2: { quota: { keys_per_second: 50 } } };
  const streams = { refused: (owner: Owner, error: KeyweaveError) => void told.push({ owner, error }) };
  return new PartyQuotas({ kind: ETSI014_KEYS, parties, defaults, clock, streams });
}

/** The calls of SAE a of Alice, whose keys come as the test says. */
function world(
  take: (wanted: Wanted) => TakenKey[] | Promise<TakenKey[]>,
  found: Found = { keys: [] },
  quotas = quotasOf(),
) {
  const gone = new AbortController();
  const returned: TakenKey[] = [];
  const caller: Caller = { party: saes.find('a') as Party, address: '127.0.0.1:1', signal: gone.signal };
  const calls = new RestCalls({
    ...{ saes, quotas, settings: REST_SETTINGS, limits: configOf(ALICE).limits },
    masters: { take, readyKeys: () => 5_000, putBack: (_of, key) => returned.push(key) },
    slaves: { take: () => found },
  });
  return { calls, caller, gone, returned };
}

const inShort = ({ owner, error }: (typeof told)[number]) => [owner.identity, owner.address, error.reason];

const parsed = (answer: Buffer | Promise<Buffer>) => {
  assert.ok(Buffer.isBuffer(answer), 'it was not given at once');
  return JSON.parse(answer.toString());
};

const refused = (words: RegExp) => (error: unknown) =>
  error instanceof BadRequestError && words.test(error.detail);

describe('Get key', () => {
  it('asks for the keys of the group, whose slaves are each named once, in one order', () => {
    const asked: Wanted[] = [];
    const { calls, caller } = world((wanted) => {
      asked.push(wanted);
      return [taken()];
    });
    assert.equal(parsed(calls.encKeys(caller, 'b3', undefined)).keys[0].key_ID, ID);
    calls.encKeys(caller, 'b3', { number: 2, size: 64, additional_slave_SAE_IDs: ['b', 'b3'] });
    const seen = asked.map(({ group, bytes, count }) => [group.slaves.map(({ id }) => id), bytes, count]);
    assert.deepEqual(seen, [
      [['b3'], 32, 1],
      [['b', 'b3'], 8, 2],
    ]);
  });

  it('is refused for SAEs that no stream can reach, and for more than a stream holds', () => {
    const { calls, caller } = world(() => assert.fail('it was asked for keys'));
    assert.throws(() => calls.encKeys(caller, 'a2', {}), refused(/is at this KME/));
    assert.throws(() => calls.encKeys(caller, 'x', {}), refused(/"x" is no SAE/));
    const apart = { additional_slave_SAE_IDs: ['c'] };
    assert.throws(() => calls.encKeys(caller, 'b', apart), refused(/slave SAEs of one KME only/));
    const few = new RestCalls({
      ...{ saes, quotas: quotasOf(), settings: REST_SETTINGS },
      limits: { max_buffered_chunks: 1_024, max_buffered_bytes: 1_024 },
      masters: { take: () => [], readyKeys: () => 0, putBack: () => undefined },
      slaves: { take: () => ({ keys: [] }) },
    });
    assert.throws(
      () => few.encKeys(caller, 'b', { number: 33 }),
      refused(/number shall be 1 to 32 for keys of 256/),
    );
  });

  it('gives back what came for an SAE that has gone away', async () => {
    const coming = Promise.withResolvers<TakenKey[]>();
    const { calls, caller, gone, returned } = world(() => coming.promise);
    const answer = calls.encKeys(caller, 'b', {});
    gone.abort();
    const keys = [taken(), taken()];
    coming.resolve(keys);
    await assert.rejects(
      async () => answer,
      (error) => isReason(error, 'TIMEOUT'),
    );
    assert.deepEqual(returned, keys);
    assert.ok(!keys.some(({ key }) => key.wiped));
  });

  it('waits for 64 calls of one SAE at most, and for others as ever', async () => {
    const coming = Promise.withResolvers<TakenKey[]>();
    const { calls, caller } = world(() => coming.promise);
    const waiting = Array.from({ length: 64 }, () => calls.encKeys(caller, 'b', {}));
    assert.throws(
      () => calls.encKeys(caller, 'b', {}),
      (error) => isReason(error, 'LIMIT_EXCEEDED'),
    );
    assert.deepEqual(told.map(inShort), [['a', '127.0.0.1:1', 'LIMIT_EXCEEDED']]);
    const other = calls.encKeys({ ...caller, party: saes.find('a2') as Party }, 'b', {});
    coming.resolve([]);
    await Promise.all([...waiting, other]);
    await calls.encKeys(caller, 'b', {});
  });
});

describe('quotas of SAEs', () => {
  const isReasonOf = (reason: 'INSUFFICIENT_KEY' | 'LIMIT_EXCEEDED') => (error: unknown) =>
    isReason(error, reason);

  it('give each so many keys a second, at either end, and the others theirs', async () => {
    const clock = new FakeClock();
    const quotas = quotasOf({ keys_per_second: 10 }, clock);
    const { calls, caller } = world(() => [], { keys: [] }, quotas);
    const other = { ...caller, party: saes.find('a2') as Party };
    calls.encKeys(caller, 'b', { number: 8 });
    calls.decKeys(caller, 'b', { key_IDs: [ID, ID.replace('b', 'c')] });
    assert.deepEqual(told, []);
    assert.throws(() => calls.encKeys(caller, 'b', {}), isReasonOf('INSUFFICIENT_KEY'));
    assert.deepEqual(told.map(inShort), [['a', '127.0.0.1:1', 'INSUFFICIENT_KEY']]);
    assert.throws(
      () => calls.decKey(caller, 'b', { key_ID: ID }),
      /10 keys a second; ask for 1 again in 100 ms/,
    );
    calls.encKeys(other, 'b', { number: 50 });
    assert.throws(() => calls.encKeys(other, 'b', {}), isReasonOf('INSUFFICIENT_KEY'));
    await clock.advance(100);
    calls.encKeys(caller, 'b', {});
  });

  it('count no keys that were not given', async () => {
    const quotas = quotasOf({ keys_per_second: 2 });
    const missing = world(() => [], { missing: [ID] }, quotas);
    const failing = world(() => Promise.reject(new Error('no key')), undefined, quotas);
    const throwing = world(
      () => {
        throw new Error('no key');
      },
      undefined,
      quotas,
    );
    for (let i = 0; i < 3; i++) {
      assert.throws(() => missing.calls.decKey(missing.caller, 'b', { key_ID: ID }), BadRequestError);
      await assert.rejects(async () => failing.calls.encKeys(failing.caller, 'b', { number: 2 }), /no key/);
      assert.throws(() => throwing.calls.encKeys(throwing.caller, 'b', { number: 2 }), /no key/);
    }
  });

  it('give a request of more than a second its keys, and then none for so long', async () => {
    const clock = new FakeClock();
    const { calls, caller } = world(() => [], undefined, quotasOf({ keys_per_second: 10 }, clock));
    calls.encKeys(caller, 'b', { number: 100 });
    assert.throws(() => calls.encKeys(caller, 'b', {}), isReasonOf('INSUFFICIENT_KEY'));
    await clock.advance(9_000);
    assert.throws(() => calls.encKeys(caller, 'b', {}), isReasonOf('INSUFFICIENT_KEY'));
    await clock.advance(100);
    calls.encKeys(caller, 'b', {});
  });

  it('let fewer calls wait than 64 where they say so', async () => {
    const coming = Promise.withResolvers<TakenKey[]>();
    const { calls, caller } = world(() => coming.promise, undefined, quotasOf({ waiting_requests: 1 }));
    const waiting = calls.encKeys(caller, 'b', {});
    assert.throws(() => calls.encKeys(caller, 'b', {}), isReasonOf('LIMIT_EXCEEDED'));
    coming.resolve([]);
    await waiting;
    await calls.encKeys(caller, 'b', {});
  });
});

describe('Get status', () => {
  it('never tells of more keys than are held at most', () => {
    const { calls, caller } = world(() => []);
    const { stored_key_count, max_key_count, target_KME_ID } = parsed(calls.status(caller, 'b'));
    assert.deepEqual([stored_key_count, max_key_count, target_KME_ID], [1_024, 1_024, BOB]);
  });
});

describe('Get key with key IDs', () => {
  it('tells which keys are missing, and keys of others from them', () => {
    const body = { key_IDs: [{ key_ID: ID }] };
    const missing = world(() => [], { missing: [ID] });
    assert.throws(
      () => missing.calls.decKeys(missing.caller, 'b', body),
      (error) => {
        assert.ok(error instanceof BadRequestError);
        assert.deepEqual(error.details, [{ key_ID: ID }]);
        return true;
      },
    );
    const barred = world(() => [], { barred: [ID] });
    assert.throws(() => barred.calls.decKey(barred.caller, 'b', { key_ID: ID }), NotEntitledError);
    assert.throws(() => barred.calls.decKey(barred.caller, 'nobody', { key_ID: ID }), refused(/no SAE/));
  });
});
