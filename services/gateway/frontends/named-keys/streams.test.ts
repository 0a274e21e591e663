import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ALICE, BOB, idleInitiator, offerOf, settle } from '#test/helpers/openings.ts';
import { type SaeStreams, saeStreams } from '#test/helpers/sae-streams.ts';
import { ETSI014_KEYS } from './key-kinds.ts';
import type { TakenKey } from './taken-keys.ts';

let world: SaeStreams;

beforeEach(() => {
  world = saeStreams();
});

const hex = ({ id, key }: TakenKey) => `${id} ${key.expose().toString('hex')}`;

/** Keys of a stream that is opened for them, taken at the master's end. */
async function taken(count: number, slaves: readonly string[] = ['b']): Promise<TakenKey[]> {
  const before = world.ends().map(({ master }) => master);
  const wanted = { group: world.group('a', ...slaves), bytes: 32, count };
  const promised = Promise.resolve(world.masters.take(wanted, world.taker));
  await settle();
  const opened = world.ends().find(({ master }) => !before.includes(master));
  assert.ok(opened, 'no stream was opened');
  world.release(opened, 0, count);
  return promised;
}

function fetched(slave: string, keys: readonly { id: string }[], master = 'a') {
  const { slaves, atBob } = world;
  return slaves.take(
    atBob(slave),
    atBob(master),
    keys.map(({ id }) => id),
    '127.0.0.1:2',
  );
}

describe('the streams of SAEs', () => {
  it('are opened by the master’s end alone, and give both the same keys by the same key_IDs', async () => {
    const keys = await taken(3);
    const expected = keys.map(hex);
    const found = fetched('b', keys.toReversed());
    assert.ok('keys' in found);
    assert.deepEqual(found.keys.map(hex), expected.toReversed());
    assert.deepEqual(fetched('b', keys), { missing: keys.map(({ id }) => id) });
    const [{ slave }] = world.ends() as [ReturnType<SaeStreams['ends']>[0]];
    assert.deepEqual([slave.owner, slave.local, slave.peer], [ETSI014_KEYS.owner, 'joined', 'joined']);
  });

  it('give what is ready in the same turn', async () => {
    await taken(1);
    const wanted = { group: world.group('a', 'b'), bytes: 32, count: 5 };
    world.release(world.ends()[0] as never, 1, 5);
    const keys = world.masters.take(wanted, world.taker);
    assert.ok(Array.isArray(keys) && keys.length === 5);
    assert.equal(world.alice.peerOf(BOB).count('open'), 1);
  });

  it('give all keys that are asked for or none, and those that were there to the next one', async () => {
    await taken(1);
    const group = world.group('a', 'b');
    world.release(world.ends()[0] as never, 1, 2);
    const late = Promise.resolve(world.masters.take({ group, bytes: 32, count: 3 }, world.taker));
    const refused = assert.rejects(late, (error) => isReason(error, 'TIMEOUT'));
    await world.pass(10_000);
    await refused;
    const keys = world.masters.take({ group, bytes: 32, count: 2 }, world.taker);
    assert.ok(Array.isArray(keys), 'they were lost');
    assert.ok('keys' in fetched('b', keys));
  });

  it('are one for each size and group, and a key is for its own group alone', async () => {
    const [forOne, forTwo] = [await taken(1), await taken(1, ['b', 'b2'])];
    assert.equal(world.ends().length, 2);
    const ids = (keys: readonly TakenKey[]) => keys.map(({ id }) => id);
    assert.deepEqual(fetched('b2', forOne), { barred: ids(forOne) });
    assert.deepEqual(fetched('b3', forTwo), { barred: ids(forTwo) });
    assert.deepEqual(fetched('b', forOne, 'a2'), { missing: ids(forOne) });
    const expected = forTwo.map(hex);
    for (const slave of ['b2', 'b']) {
      const found = fetched(slave, forTwo);
      assert.ok('keys' in found);
      assert.deepEqual(found.keys.map(hex), expected);
      assert.deepEqual(fetched(slave, forTwo), { missing: ids(forTwo) });
    }
  });

  it('lose no key to a call that names one which is missing', async () => {
    const keys = await taken(2, ['b', 'b2']);
    const [first, second] = keys as [TakenKey, TakenKey];
    assert.ok('keys' in fetched('b', [first]));
    assert.deepEqual(fetched('b', keys), { missing: [first.id] });
    assert.ok('keys' in fetched('b', [second]));
    assert.ok('keys' in fetched('b2', keys));
    assert.deepEqual(fetched('b2', [second]), { missing: [second.id] });
  });

  it('keep a key for its slave at least for the key_ttl after the master has got it, and no longer than twice and a minute', async () => {
    await taken(1);
    const [end] = world.ends() as [ReturnType<SaeStreams['ends']>[0]];
    const group = world.group('a', 'b');
    world.release(end, 1, 3);
    const sweep = async (ms: number) => {
      await world.pass(ms);
      world.masters.sweep();
      world.slaves.sweep();
    };
    await sweep(590_000);
    const [young] = world.masters.take({ group, bytes: 32, count: 1 }, world.taker) as TakenKey[];
    await sweep(20_000);
    assert.equal(end.master.buffer.size, 0, 'the master would be given one that is too old');
    await sweep(580_000);
    assert.ok('keys' in fetched('b', [young as TakenKey]));
    assert.equal(end.slave.buffer.size, 3);
    await sweep(80_000);
    assert.equal(end.slave.buffer.size, 0);
  });

  it('are opened anew when the other gateway has lost them, without an error', async () => {
    const before = await taken(1);
    const [{ master }] = world.ends() as [ReturnType<SaeStreams['ends']>[0]];
    world.release(world.ends()[0] as never, 1, 4);
    master.peerClosed('the other node no longer knows this stream');
    const after = await taken(1);
    assert.notEqual(after[0]?.id.slice(0, 8), before[0]?.id.slice(0, 8));
    assert.ok('keys' in fetched('b', after));
  });

  it('leave what the master has got for its slave when they are closed, and end when that is gone', async () => {
    const keys = await taken(2);
    world.masters.stop();
    await settle();
    world.slaves.sweep();
    assert.ok('keys' in fetched('b', [keys[0] as TakenKey]));
    assert.ok('keys' in fetched('b', [keys[1] as TakenKey]));
    world.slaves.sweep();
    world.slaves.sweep();
    assert.equal([...world.bob.store.all()].length, 0);
  });

  it('are 64 of one master at most: the one that was used least lately gives way', async () => {
    for (let i = 0; i < 65; i++) {
      const wanted = { group: world.group('a', 'b'), bytes: 8 + i, count: 1 };
      void Promise.resolve(world.masters.take(wanted, world.taker)).catch(() => undefined);
      await settle();
      await world.pass(1);
    }
    const sizes = [...world.alice.store.all()].map(({ qos }) => qos.keyChunkSize);
    assert.deepEqual([sizes.length, sizes[0], sizes.at(-1)], [64, 9, 72]);
  });

  it('are opened before anybody asks, and again when they are over', async () => {
    world.masters.keepWarm();
    await settle();
    assert.equal(world.ends().length, 6);
    for (const { master } of world.ends()) assert.deepEqual(idleInitiator(master).wanted, [10]);
    assert.equal(world.masters.readyKeys(world.group('a', 'b'), 32), 0);
    world.ends()[0]?.master.peerClosed('gone');
    await world.pass(15_000);
    await settle();
    assert.equal(world.ends().filter(({ master }) => master.peer === 'joined').length, 6);
  });

  it('are tried again while the other node cannot be reached', async () => {
    const { script } = world.alice.peerOf(BOB);
    const { open } = script;
    script.open = async () => {
      throw new KeyweaveError('UNSUPPORTED', 'not now');
    };
    world.masters.keepWarm();
    await world.pass(5_000);
    assert.equal(world.ends().length, 0);
    Object.assign(script, { open });
    await world.pass(15_000);
    await settle();
    assert.equal(world.ends().length, 6);
  });
});

describe('an offer of a stream of SAEs', () => {
  const refusal = async (ofBob: Parameters<typeof saeStreams>[1], bytes = 32) => {
    world = saeStreams({}, ofBob);
    const wanted = { group: world.group('a', 'b'), bytes, count: 1 };
    let refused: unknown;
    await Promise.resolve(world.masters.take(wanted, world.taker)).catch((error: unknown) => {
      refused = error;
    });
    return refused;
  };

  it('is refused in words where the two listeners differ', async () => {
    const cases: [Parameters<typeof refusal>[0], RegExp][] = [
      [{ default_method: 'kmac256' }, /differ in method: hkdf-sha384 here, kmac256 at the other node/],
      [{ default_key_sources: ['QKD'] }, /differ in sources/],
      [{ min_key_size: 512 }, /keys of 512 to 4096 bits, not of 256/],
      [{ saes: { a: { node: ALICE }, c: { node: BOB } } }, /the SAEs are not at their nodes/],
    ];
    for (const [ofBob, words] of cases) assert.match(String(await refusal(ofBob)), words);
  });

  it('is taken where they name the same otherwise', async () => {
    world = saeStreams({}, { default_method: 'HKDF-SHA384', default_key_sources: ['ml-kem-768', 'qkd'] });
    assert.equal((await taken(1)).length, 1);
  });

  it('is refused where nobody answers for SAEs', async () => {
    const { bob } = world;
    const uris = { source: `hybrid://listener~x@${ALICE}`, destination: `hybrid://listener~x@${BOB}` };
    const offer = bob.responder.offered(offerOf('x', ALICE, BOB, 1, uris), ALICE);
    await assert.rejects(offer, (error) => isReason(error, 'PEER_APPLICATION_ABSENT'));
    assert.equal([...bob.store.all()].length, 0);
  });

  it('counts as any other towards the streams of a peer', async () => {
    world = saeStreams({}, {}, { max_streams_per_peer: 1 });
    await taken(1);
    const wanted = { group: world.group('a', 'b2'), bytes: 32, count: 1 };
    const second = Promise.resolve(world.masters.take(wanted, world.taker));
    await assert.rejects(second, (error) => isReason(error, 'LIMIT_EXCEEDED'));
  });
});
