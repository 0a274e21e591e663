import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Metadata } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { CALLER_METADATA, PEER_METADATA } from '#common/grpc/callers.ts';
import { spiffeId } from '#common/tls/spiffe.ts';
import {
  type BatchAnswer,
  type BatchOffer,
  KeyAgreementDefinition,
  OpenRequest,
} from '#gen/keyweave/v1/key_agreement.ts';
import { LIES, type Spoilt } from '../helpers/agreement-lies.ts';
import { askBoth, meet } from '../helpers/asking.ts';
import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { dial, impersonate, silence, startWiredNetwork, type WiredNetwork } from '../helpers/lying-peer.ts';
import { eventually, type LocalNode, openData, openPair, type Pair } from '../helpers/network.ts';

/** A trusted node whose certificate the test holds and that is not there otherwise. */
const MALLORY = 'eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee';

/** No method of the compatible ones, so that a change of a single bit anywhere must show in the tags alone. */
const QUERY = 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD';

let wired: WiredNetwork;
let alice: LocalNode;
let bob: LocalNode;

before(async () => {
  wired = await startWiredNetwork({
    names: ['Alice', 'Bob'],
    wired: [['Alice', 'Bob']],
    strangers: [MALLORY],
  });
  [alice, bob] = wired.nodes as [LocalNode, LocalNode];
});
after(() => wired.stop());

const openStream = () => openPair(wired.network, openData(alice, bob, QUERY, { timeout: 1_000 }));

describe('a peer that lies about what the two ends have agreed', () => {
  for (const [what, tell] of LIES) {
    it(`${what}: neither end delivers a key of the batch, both are told, and keys are equal when it is over`, async () => {
      const history: HistoryEntry[] = [];
      const spoilt: Spoilt = [];
      const pair = await openStream();
      const wire = wired.wire('Alice', 'Bob');
      for (let i = 0; i < 3; i++) assert.deepEqual(await askBoth(history, pair), [0, 0]);
      tell(wire, spoilt);
      try {
        await untilBothRefused(history, pair);
      } finally {
        wire.lies = {};
      }
      assert.ok(
        spoilt.some(([ksid]) => ksid === pair.ksid),
        'no batch was lied about',
      );
      await recovered(history, pair);
      assert.deepEqual(breaches(history, 32), []);
      assertNoneDelivered(history, spoilt);
      await pair.close();
    });
  }

  it('a decision that is claimed and was never taken: no two different keys', async () => {
    const history: HistoryEntry[] = [];
    const pair = await openStream();
    const wire = wired.wire('Alice', 'Bob');
    const claimed = { released: true, buffered: 0, failure: undefined };
    wire.lies = {
      produce: async (request, pass) => {
        const response = await pass({ ...request, confirmations: [] });
        return { ...response, decisions: request.confirmations.map(() => claimed) };
      },
      confirm: async (request) => ({ decisions: request.confirmations.map(() => claimed) }),
    };
    try {
      for (let i = 0; i < 3; i++) await askBoth(history, pair);
    } finally {
      wire.lies = {};
    }
    await recovered(history, pair);
    assert.deepEqual(breaches(history, 32), []);
    await pair.close();
  });

  it('every message is sent twice, the decision kept back: no two different keys, no index twice', async () => {
    const history: HistoryEntry[] = [];
    const pair = await openStream();
    const wire = wired.wire('Alice', 'Bob');
    wire.lies = {
      produce: async (request, pass) => {
        const answer = await pass(request);
        await pass(request).catch(() => undefined);
        return answer;
      },
      confirm: async (request, pass) => {
        await pass(request);
        return pass(request);
      },
    };
    try {
      for (let i = 0; i < 10; i++) await askBoth(history, pair);
    } finally {
      wire.lies = {};
    }
    await recovered(history, pair);
    assert.deepEqual(breaches(history, 32), []);
    await pair.close();
  });

  it('it claims not to know the stream: both ends are told, and new streams deliver', async () => {
    const history: HistoryEntry[] = [];
    const pair = await openStream();
    const wire = wired.wire('Alice', 'Bob');
    wire.lies = {
      produce: (request, pass) =>
        pass({
          ...request,
          offers: request.offers.map((offer) => ({ ...offer, keyStreamId: Buffer.alloc(16, 7) })),
        }),
    };
    try {
      await untilBothRefused(history, pair);
    } finally {
      wire.lies = {};
    }
    await pair.close();
    const next = await openStream();
    await recovered(history, next);
    assert.deepEqual(breaches(history, 32), []);
    await next.close();
  });

  it('it never answers: both ends are told in time, and new streams deliver once it does', async () => {
    const history: HistoryEntry[] = [];
    const pair = await openStream();
    const wire = wired.wire('Alice', 'Bob');
    wire.lies = { produce: (_request, _pass, signal) => silence(signal) };
    try {
      await untilBothRefused(history, pair);
    } finally {
      wire.lies = {};
    }
    for (const { sentMs, answeredMs } of history)
      assert.ok(answeredMs - sentMs < 2_000, 'an answer came late');
    await pair.close();
    const next = await openStream();
    await recovered(history, next);
    assert.deepEqual(breaches(history, 32), []);
    await next.close();
  });
});

function assertNoneDelivered(history: readonly HistoryEntry[], spoilt: Spoilt): void {
  const isSpoilt = ({ ksid, index = -1 }: HistoryEntry) =>
    spoilt.some(([of, first, end]) => of === ksid && first <= index && index < end);
  const delivered = history.filter((entry) => entry.status === 0 && isSpoilt(entry));
  const [first] = delivered;
  assert.ok(
    first === undefined,
    `${delivered.length} keys of batches that were lied about, the first at end ${first?.end}, index ${first?.index}`,
  );
}

/** Asks until both ends have been refused since `history` had its length, each in words: what was confirmed before may still come. */
async function untilBothRefused(history: HistoryEntry[], pair: Pair): Promise<void> {
  const from = history.length;
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    await askBoth(history, pair);
    const refused = history.slice(from).filter(({ status }) => status !== 0);
    if (refused.some(({ end }) => end === 0) && refused.some(({ end }) => end === 1)) {
      for (const { message } of refused) assert.match(message, /\w+ \w+/);
      return;
    }
  }
  assert.fail(`the lie was never felt in ${history.length - from} answers`);
}

/** Waits until both ends deliver, and lets each be given the same indexes, so that what differs would show. */
async function recovered(history: HistoryEntry[], pair: Pair): Promise<void> {
  await eventually('both ends deliver again', 8_000, async () => {
    const statuses = await askBoth(history, pair);
    return statuses.every((status) => status === 0) ? true : undefined;
  });
  for (let i = 0; i < 3; i++) assert.deepEqual(await askBoth(history, pair), [0, 0]);
  await meet(history, pair);
}

describe('a peer that claims to be another one', () => {
  /** A call of Mallory that says to come from `claimed`, in every way that metadata can. */
  const claiming = (claimed: string) => ({
    metadata: Metadata({
      [PEER_METADATA]: claimed,
      [CALLER_METADATA]: spiffeId('keyweave', claimed, 'peer-broker'),
    }),
    timeoutMs: 3_000,
  });

  /** The reason of a refusal, or of the first failed entry of an answer; OK for none. */
  async function outcome(call: Promise<unknown>): Promise<string> {
    try {
      const response = (await call) as {
        answers?: BatchAnswer[];
        decisions?: { failure?: { reason: string } }[];
      };
      const entry = response.answers?.[0] ?? response.decisions?.[0];
      return entry?.failure?.reason ?? 'OK';
    } catch (error) {
      return error instanceof KeyweaveError ? error.reason : String(error);
    }
  }

  it('has no access to a stream of the node that it names, by no call, at either end', async () => {
    const mallory = await impersonate(wired.network, MALLORY);
    const pair = await openStream();
    const history: HistoryEntry[] = [];
    assert.deepEqual(await askBoth(history, pair), [0, 0]);
    const keyStreamId = Buffer.from(pair.ksid.replaceAll('-', ''), 'hex');
    const [offer] = wired.wire('Alice', 'Bob').seen.produce.at(-1)?.offers ?? [];
    assert.deepEqual(offer?.keyStreamId, keyStreamId);
    const name = { keyStreamId, incarnation: (offer as BatchOffer).incarnation };
    const confirmation = { ...name, firstIndex: 0, count: 1, initiatorTags: Buffer.alloc(32) };
    const demands = [{ ...name, count: 1, waitedFor: true }];
    for (const [node, claimed] of [
      [alice, bob.uuid],
      [bob, alice.uuid],
    ] as const) {
      const connection = dial(mallory, node);
      const client = connection.client(KeyAgreementDefinition);
      const as = claiming(claimed);
      const late: BatchOffer = { ...(offer as BatchOffer), firstIndex: 1_000_000 };
      assert.deepEqual(
        {
          join: await outcome(client.join(name, as)),
          produce: await outcome(client.produce({ offers: [late], confirmations: [] }, as)),
          confirm: await outcome(client.confirm({ confirmations: [confirmation] }, as)),
          demand: await outcome(client.demand({ demands }, as)),
          close: await outcome(client.close({ ...name, reason: 'a lie' }, as)),
        },
        {
          join: 'UNKNOWN_STREAM',
          produce: 'UNKNOWN_STREAM',
          confirm: 'UNKNOWN_STREAM',
          demand: 'UNKNOWN_STREAM',
          close: 'OK',
        },
        node.name,
      );
      for (let i = 0; i < 4; i++)
        assert.deepEqual(await askBoth(history, pair), [0, 0], `after ${node.name}`);
      connection.close();
    }
    assert.deepEqual(breaches(history, 32), []);
    await pair.close();
    mallory.close();
  });

  it('cannot join what is offered to the node that it names, nor offer for it', async () => {
    const mallory = await impersonate(wired.network, MALLORY);
    const connection = dial(mallory, alice);
    const client = connection.client(KeyAgreementDefinition);
    const wire = wired.wire('Alice', 'Bob');
    const waiting = await Etsi004Client.connect(alice.json);
    const data = openData(alice, bob, QUERY, { timeout: 2_000 });
    const opening = waiting.open(data);
    const offered = await eventually('Alice offers the stream', 2_000, async () =>
      wire.seen.open.findLast(({ source }) => source === data.source),
    );
    const { keyStreamId, incarnation } = offered;
    assert.equal(
      await outcome(client.join({ keyStreamId, incarnation }, claiming(bob.uuid))),
      'UNKNOWN_STREAM',
    );
    assert.equal((await opening).status, 6);

    const expecting = await Etsi004Client.connect(alice.json);
    const lure = openData(bob, alice, QUERY, { timeout: 2_000 });
    const lured = expecting.open(lure);
    const forged = OpenRequest.fromPartial({
      ...offered,
      keyStreamId: Buffer.from(randomUUID().replaceAll('-', ''), 'hex'),
      source: lure.source,
      destination: lure.destination,
    });
    assert.equal(await outcome(client.open(forged, claiming(bob.uuid))), 'NO_ROUTE');
    assert.equal((await lured).status, 6);
    for (const one of [waiting, expecting]) one.disconnect();
    connection.close();
    mallory.close();
  });
});
