import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  opened as answerToOpen,
  BOB,
  CAROL,
  from,
  incarnation,
  ksidOf,
  type Openings,
  offerOf,
  openingsOf,
  QOS,
  wishOf,
} from '#test/helpers/openings.ts';

let bob: Openings;

beforeEach(() => {
  bob = openingsOf(BOB);
});

/** A stream of this incarnation whose initiator is Alice, joined at both ends. */
async function joined(n: number) {
  await bob.agreement.open(offerOf('app', ALICE, BOB, 1, { incarnation: incarnation(n) }), from(ALICE));
  return bob.responder.open(wishOf('app', ALICE, BOB));
}

/** A stream whose initiator is this node and that the other application has not joined, and the name that the other end knows it by. */
async function opened() {
  bob.peerOf(ALICE).script.open = async () => answerToOpen({ joined: false });
  const wish = wishOf('app', BOB, ALICE, { ksid: ksidOf(1).text, presence: 'node' });
  const stream = await bob.initiator.open(wish);
  return { stream, name: { keyStreamId: stream.idBytes, incarnation: stream.incarnation } };
}

describe('a message that names another incarnation than the one held, or comes from another peer', () => {
  const nobodys = [
    ['another incarnation', { keyStreamId: ksidOf(1).bytes, incarnation: incarnation(9) }, ALICE],
    ['no incarnation', { keyStreamId: ksidOf(1).bytes, incarnation: Buffer.alloc(0) }, ALICE],
    ['another peer', { keyStreamId: ksidOf(1).bytes, incarnation: incarnation(2) }, CAROL],
  ] as const;
  for (const [what, name, peer] of nobodys) {
    it(`(${what}) is answered as for an unknown stream, and ends nothing`, async () => {
      const stream = await joined(2);
      const batch = { ...name, firstIndex: 0, count: 1 };
      const offer = { ...batch, publicKeys: [], qkd: undefined, degradedSlot: 0 };
      const produced = await bob.agreement.produce(
        { offers: [offer], confirmations: [{ ...batch, initiatorTags: Buffer.alloc(0) }], qkd: undefined },
        from(peer),
      );
      assert.equal(produced.answers?.[0]?.failure?.reason, 'UNKNOWN_STREAM');
      assert.equal(produced.decisions?.[0]?.failure?.reason, 'UNKNOWN_STREAM');
      assert.deepEqual(await bob.agreement.close({ ...name, reason: 'late' }, from(peer)), {});
      assert.deepEqual([stream.ended, stream.peer], [false, 'joined']);
      assert.equal(bob.store.get(stream.id), stream);
    });
  }

  it('of the initiator’s stream neither joins it nor makes it produce', async () => {
    const { stream, name } = await opened();
    assert.equal(stream.peer, 'absent');
    const old = { ...name, incarnation: incarnation(1) };
    await assert.rejects(async () => bob.agreement.join(old, from(ALICE)), /UNKNOWN_STREAM/);
    const demands = [{ ...old, count: 1, waitedFor: true }];
    const { answers } = await bob.agreement.demand({ demands }, from(ALICE));
    assert.equal(answers?.[0]?.failure?.reason, 'UNKNOWN_STREAM');
    assert.equal(stream.peer, 'absent');
    assert.deepEqual(await bob.agreement.join(name, from(ALICE)), { accepted: true });
    assert.equal(stream.peer, 'joined');
  });
});

describe('what a peer says', () => {
  const long = (length: number) => 'x'.repeat(length);
  const offer = offerOf('app', ALICE, BOB, 1);
  const changes: [string, Partial<OpenRequest>][] = [
    ['source', { source: `${offer.source}?${long(4_096)}` }],
    ['destination', { destination: `${offer.destination}?${long(4_096)}` }],
    ['method', { method: long(65) }],
    ['software_version', { softwareVersion: long(129) }],
    ['metadata_mimetype', { qos: { ...QOS, metadataMimetype: long(257) } }],
    ['at most 64 slots', { slots: Array.from({ length: 65 }, () => ({ ...offer.slots[0] })) as never }],
    ['algorithm', { slots: [{ ...offer.slots[0], algorithm: long(65) }] as never }],
    ['revision', { slots: [{ ...offer.slots[0], revision: long(65) }] as never }],
  ];
  for (const [what, change] of changes) {
    it(`is refused by name where it is longer than anybody needs: ${what}`, async () => {
      await assert.rejects(
        async () => bob.agreement.open({ ...offer, ...change }, from(ALICE)),
        (error: Error) => isReason(error, 'BAD_REQUEST') && error.message.includes(what),
      );
      assert.equal(bob.store.size, 0);
    });
  }

  it('is refused by name where it is longer than anybody needs: reason of a Close', async () => {
    const stream = await joined(1);
    const name = { keyStreamId: stream.idBytes, incarnation: stream.incarnation };
    await assert.rejects(
      async () => bob.agreement.close({ ...name, reason: long(257) }, from(ALICE)),
      /BAD_REQUEST: reason /,
    );
  });
});
