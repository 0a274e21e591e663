import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { beforeEach, describe, it } from 'node:test';
import { asBuffer } from '#common/crypto/bytes.ts';
import { systemRandom } from '#common/crypto/random.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { outcomeOf } from '#common/errors/outcome.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { BatchOffer, ProduceRequest } from '#gen/keyweave/v1/key_agreement.ts';
import type { OpenQkdRequest } from '#gen/keyweave/v1/qkd_source.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB, CAROL, keyStream, LIVING, qkdReference, termsOf } from '#test/helpers/streams.ts';
import type { KemClient, KeyPairs } from '../clients/kem-client.ts';
import type { PeerLink } from '../clients/peer-link.ts';
import type { QkdClient } from '../clients/qkd-client.ts';
import { directRoute } from '../streams/route.ts';
import type { EndProducer, EndStream } from './end-producer.ts';
import { InitiatorProducer } from './initiator/initiator-producer.ts';
import { Producers } from './producers.ts';
import { ResponderProducer } from './responder/responder-producer.ts';

let clock: FakeClock;
/** Key pairs that were made and neither used nor discarded. */
let keyPairs: Set<KeyPairs>;
/** Everything secret that a source gave. */
let secrets: Buffer[];
/** What reached each node: its rounds, by the number of their offers. */
let rounds: Map<string, number[]>;
let opened: OpenQkdRequest[];
/** The producers of Bob and Carol, by KSID, and what makes them. */
let ends: Map<string, ResponderProducer>;
let others: Map<string, Producers>;
let alice: Producers;

const secret = (bytes: Buffer) => {
  secrets.push(bytes);
  return bytes;
};
const sha256 = (...parts: Uint8Array[]) =>
  parts.reduce((h, part) => h.update(part), createHash('sha256')).digest();

/** A KEM whose ciphertext tells its secret: both ends see the same. */
const kem: KemClient = {
  generate: async ({ publicKeyBytes }, count) => {
    const pairs = { publicKeys: Buffer.alloc(count * publicKeyBytes, keyPairs.size + 1) };
    keyPairs.add(pairs);
    return pairs;
  },
  decapsulate: async ({ ciphertextBytes }, pairs, ciphertexts) => {
    assert.ok(keyPairs.delete(pairs), 'key pairs were used twice');
    const count = ciphertexts.length / ciphertextBytes;
    return secret(Buffer.alloc(count * 32, ciphertexts[0]));
  },
  discard: (pairs) => void keyPairs.delete(pairs),
  encapsulate: async ({ publicKeyBytes, ciphertextBytes }, publicKeys) => {
    const count = publicKeys.length / publicKeyBytes;
    const mark = (publicKeys[0] ?? 0) ^ 0x5a;
    return {
      ciphertexts: Buffer.alloc(count * ciphertextBytes, mark),
      sharedSecrets: secret(Buffer.alloc(count * 32, mark)),
    };
  },
  unavailable: async () => new Map(),
};

/** Key managers that give the same keys at both ends. */
const qkd: QkdClient = {
  open: async (request) => {
    opened.push(request);
    return 'qkd';
  },
  close: async () => undefined,
  fetch: async (fetches) => ({
    results: fetches.map(({ epoch, position, count, keyBytes }) =>
      secret(
        Buffer.concat(
          Array.from({ length: count }, (_, i) =>
            sha256(Buffer.from(`${epoch} ${position + BigInt(i)}`)).subarray(0, keyBytes),
          ),
        ),
      ),
    ),
    blockBytes: 0,
  }),
};

const hybridizer: ConstructorParameters<typeof Producers>[0]['hybridizer'] = {
  derive: async (batches) =>
    batches.map(({ slots, count, chunkBytes, context, firstIndex }) => {
      const all = sha256(
        ...slots.map((slot) => slot.secrets),
        Buffer.from(
          JSON.stringify([context?.source, context?.qkdEpoch, `${context?.qkdPosition}`, firstIndex]),
        ),
      );
      const keys = Buffer.alloc(count * chunkBytes);
      for (let i = 0; i < count; i++) sha256(all, Buffer.from([i])).copy(keys, i * chunkBytes);
      return {
        keys,
        initiatorTags: Buffer.alloc(count * 32, all),
        responderTags: Buffer.alloc(count * 32, all.toReversed()),
      };
    }),
};

const away = () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'the test has no such call'));

/** The way to a node of this test. */
function linkTo(node: string): PeerLink {
  const endOf = ({ keyStreamId }: { keyStreamId: Uint8Array }) => {
    const found = ends.get(asBuffer(keyStreamId).toString('hex'));
    if (!found) throw new KeyweaveError('UNKNOWN_STREAM', 'who?');
    return found;
  };
  return {
    ...{ open: away, join: away, close: away, demand: away },
    produce: async ({ offers, confirmations, qkd }: ProduceRequest) => {
      const end = others.get(node) as Producers;
      if (qkd) return { answers: [], decisions: [], qkd: await end.prepare(qkd, ALICE, node) };
      rounds.set(node, [...(rounds.get(node) ?? []), offers.length]);
      const decisions = confirmations.map((one) => endOf(one).confirm(one));
      const received = offers.map((offer: BatchOffer) => ({
        offer,
        producer: outcomeOf(() => endOf(offer)),
      }));
      return { answers: await end.answer(received), decisions, qkd: undefined };
    },
    confirm: async ({ confirmations }) => ({
      decisions: confirmations.map((one) => endOf(one).confirm(one)),
    }),
  };
}

function producers(maxBatchChunks: number, sharing: 'link' | 'stream' = 'link'): Producers {
  return new Producers({
    ...{ kem, qkd, hybridizer, clock, log: silentLog },
    seeds: { of: () => undefined },
    links: { to: linkTo },
    limits: { max_batch_chunks: maxBatchChunks },
    random: systemRandom,
    qkdSettings: {
      ...{ join: 'ksid', block_keys: 1, sharing },
      reservoir: { max_keys: 2_048, max_age: 60_000 },
      key_rate_bps: 0,
    },
  });
}

let made = 0;

/** Both ends of a stream between Alice and another node. */
function pair(keySources: readonly string[], node = BOB): { mine: EndStream; theirs: EndStream } {
  made += 1;
  const common = {
    id: `${made}`.padStart(8, '0').concat('-1111-4111-8111-111111111111'),
    terms: termsOf('hkdf-sha384', keySources, [ALICE, node]),
    ...{ clock, peer: 'joined' as const, maxPrefetchChunks: 4 },
  };
  const mine = keyStream<EndProducer>({
    ...common,
    route: directRoute(node),
    producer: (stream) => alice.initiator(stream),
  });
  const theirs = keyStream<EndProducer>({
    ...common,
    role: 'responder',
    producer: (stream) => (others.get(node) as Producers).responder(stream),
  });
  ends.set(theirs.idBytes.toString('hex'), theirs.producer as ResponderProducer);
  return { mine, theirs };
}

async function read(stream: EndStream): Promise<Buffer> {
  const taken = Promise.resolve(stream.take(undefined, 5_000, () => undefined, LIVING));
  taken.catch(() => undefined);
  await clock.advance(200);
  return Buffer.from((await taken).key.expose());
}

beforeEach(() => {
  clock = new FakeClock();
  [keyPairs, secrets, rounds, ends, opened] = [new Set(), [], new Map(), new Map(), []];
  alice = producers(64);
  others = new Map([BOB, CAROL].map((node) => [node, producers(2)]));
});

describe('Producers', () => {
  it('makes the producer of each end by its role', () => {
    const { mine, theirs } = pair(['ML-KEM-768']);
    assert.ok(mine.producer instanceof InitiatorProducer);
    assert.ok(theirs.producer instanceof ResponderProducer);
    assert.deepEqual([mine.producer.stream, theirs.producer.stream], [mine, theirs]);
  });

  it('has both ends hold the same keys, of every source, and leaves no secret of them behind', async () => {
    for (const sources of [['ML-KEM-768'], ['QKD', 'QKD'], ['QKD', 'ML-KEM-768', 'sntrup761']]) {
      const { mine, theirs } = pair(sources);
      for (let i = 0; i < 3; i++) {
        const key = await read(mine);
        assert.deepEqual(key, await read(theirs), `${sources}`);
        assert.ok(key.some((byte) => byte !== 0));
      }
      mine.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
      theirs.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
      await clock.settle();
    }
    for (const end of [alice, ...others.values()]) end.reservoirs.stop();
    assert.ok(secrets.length > 0);
    for (const bytes of secrets)
      assert.ok(
        bytes.every((byte) => byte === 0),
        'a secret outlived its round',
      );
    assert.equal(keyPairs.size, 0, 'key pairs are left');
  });

  it('has the streams with one node share rounds, and those with another have their own', async () => {
    const all = [pair(['ML-KEM-768']), pair(['ML-KEM-768']), pair(['ML-KEM-768'], CAROL)];
    // The first round of a stream is its own, since nobody knows yet that it is well.
    for (const { mine } of all) await read(mine);
    rounds.clear();
    const reads = all.map(({ mine }) => {
      while (mine.buffer.take());
      return read(mine);
    });
    await Promise.all(reads);
    assert.deepEqual([rounds.get(BOB)?.[0], rounds.get(CAROL)?.[0]], [2, 1]);
  });

  it('offers and makes no more at a time than its own node does', async () => {
    alice = producers(3);
    const { mine, theirs } = pair(['ML-KEM-768']);
    mine.producer.want(16);
    assert.equal(mine.producer.coming, 3, 'its first batch is on its way');
    const { idBytes: keyStreamId, incarnation } = theirs;
    const offer: BatchOffer = {
      ...{ keyStreamId, incarnation, firstIndex: 0, count: 16, qkd: undefined, degradedSlot: 0 },
      publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(16 * 1184) }],
    };
    const [answer] = await (others.get(BOB) as Producers).answer([
      { offer, producer: theirs.producer as ResponderProducer },
    ]);
    assert.deepEqual([answer?.count, answer?.most], [2, 2]);
  });

  it('has the streams with one node share their QKD keys, whose name the other end is told', async () => {
    for (const { mine } of [pair(['QKD', 'QKD']), pair(['ML-KEM-768', 'QKD'])]) await read(mine);
    assert.deepEqual(
      opened.map(({ epoch, qkdKeyStreamId }) => [epoch, qkdKeyStreamId]),
      [
        [0, ''],
        [0, 'qkd'],
      ],
    );
    assert.deepEqual(opened[0]?.keyStreamId, opened[1]?.keyStreamId);
    await read(pair(['QKD'], CAROL).mine);
    assert.equal(opened.length, 4);
    assert.notDeepEqual(opened[2]?.keyStreamId, opened[0]?.keyStreamId);
  });

  it('gives each stream QKD keys of its own where the settings say so, in an epoch that no earlier one had', async () => {
    alice = producers(64, 'stream');
    for (const { mine } of [pair(['QKD', 'QKD']), pair(['ML-KEM-768', 'QKD'])]) {
      await read(mine);
      const last = opened.at(-1);
      assert.deepEqual([last?.epoch, last?.keyStreamId], [mine.incarnation.readUIntBE(0, 3), mine.idBytes]);
    }
    assert.equal(opened.length, 4);
  });

  it('keeps account of every QKD key at both ends', async () => {
    const pairs = [pair(['QKD', 'QKD']), pair(['ML-KEM-768', 'QKD']), pair(['QKD', 'ML-KEM-768', 'QKD'])];
    for (let i = 0; i < 5; i++) for (const { mine } of pairs) await read(mine);
    const balances = () =>
      [alice, others.get(BOB) as Producers].map(({ reservoirs }) => {
        const [balance, ...more] = reservoirs.balances;
        assert.ok(balance);
        assert.deepEqual(more, []);
        const { peer, role, taken, woven, burned, held } = balance;
        const lost = [...burned.values()].reduce((sum, keys) => sum + keys, 0);
        assert.equal(taken, woven + lost + held, `${role} of ${peer}`);
        return { peer, role, woven, held };
      });
    const [initiator, responder] = balances();
    assert.deepEqual(
      [initiator?.role, initiator?.peer, responder?.role, responder?.peer],
      [...['initiator', BOB, 'responder', ALICE]],
    );
    assert.ok((initiator?.woven ?? 0) >= 5 * (2 + 1 + 2));
    assert.equal(initiator?.woven, responder?.woven);
    for (const { mine, theirs } of pairs) {
      mine.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
      theirs.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
    }
    await clock.advance(200_000);
    assert.deepEqual(
      balances().map(({ held }) => held),
      [0, 0],
      'an idle link holds keys',
    );
  });

  it('says to a peer why its QKD keys cannot be opened', async () => {
    const theirs = others.get(BOB) as Producers;
    const stranger = await theirs.prepare(qkdReference(), ALICE, BOB);
    assert.deepEqual([stranger.failure?.reason, stranger.blockKeys], ['UNKNOWN_STREAM', 0]);
    pair(['QKD']);
    const short = await theirs.prepare(qkdReference({ reservoir: Buffer.alloc(15) }), ALICE, BOB);
    assert.match(short.failure?.detail ?? '', /qkd.reservoir must be 16 bytes long, not 15/);
    assert.deepEqual(await theirs.prepare(qkdReference(), ALICE, BOB), { failure: undefined, blockKeys: 0 });
  });
});
