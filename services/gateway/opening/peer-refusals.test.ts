import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  BOB,
  CAROL,
  from,
  ksidOf,
  type Openings,
  offerOf,
  openingsOf,
  QOS,
  settle,
  termsOf,
  wishOf,
} from '#test/helpers/openings.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamWish } from './stream-wish.ts';

const WORDS = `policy.floor.methods of node ${ALICE} allows kmac256, not hkdf-sha384`;
const REFUSAL = { reason: 'UNSUPPORTED', detail: WORDS };

let bob: Openings;

beforeEach(() => {
  bob = openingsOf(BOB);
});

const open = (change: Partial<OpenRequest> = {}, n = 1, peer = ALICE) =>
  bob.agreement.open(offerOf('app', peer, BOB, n, change), from(peer));

/** A peer says that it does not open what it would offer; the answer is a refusal, whatever comes of it. */
const told = (change: Partial<OpenRequest> = {}, n = 1, peer = ALICE) =>
  assert.rejects(Promise.resolve(open({ qos: undefined, refusal: REFUSAL, ...change }, n, peer)));

/** An application's OPEN_CONNECT, and what it came to by now. */
function joining(change: Partial<StreamWish> = {}, app = 'app', peer = ALICE) {
  const seen: { stream?: KeyStream; error?: unknown } = {};
  bob.responder.open(wishOf(app, peer, BOB, change)).then(
    (stream) => Object.assign(seen, { stream }),
    (error: unknown) => Object.assign(seen, { error }),
  );
  return seen;
}

const isTold = ({ error }: { error?: unknown }) =>
  isReason(error, 'UNSUPPORTED') && String(error).endsWith(WORDS);
const heldOf = (n: number) => bob.store.get(ksidOf(n).text) as KeyStream;

describe('a refusal of the initiator', () => {
  it('is told to the application that waits for its offer, or else to the next, and makes no stream', async () => {
    const [first, named, other] = [joining(), joining({ ksid: ksidOf(9).text }), joining({}, 'other')];
    await settle();
    await told();
    await told({ predefined: true }, 9);
    await settle();
    assert.ok(isTold(first) && isTold(named), `${first.error}, ${named.error}`);
    await told({ qos: QOS });
    const [next, third] = [joining(), joining()];
    await settle();
    assert.ok(isTold(next), `${next.error}`);
    assert.deepEqual([third, other], [{}, {}], 'it is told once, and to no others');
    assert.equal(bob.store.size, 0);
  });

  it('ends nothing between others than the peer and this node', async () => {
    const [ofAlice, ofCarol] = [joining(), joining({}, 'app', CAROL)];
    await settle();
    await told({ source: termsOf('app', CAROL, BOB).source });
    await told({ destination: termsOf('app', ALICE, CAROL).destination });
    await settle();
    assert.deepEqual([ofAlice, ofCarol], [{}, {}]);
    await told({}, 1, CAROL);
    await settle();
    assert.deepEqual([ofAlice, isTold(ofCarol)], [{}, true]);
  });

  it('ends no stream and no offer, of this or another incarnation', async () => {
    const joined = joining({ ksid: ksidOf(1).text });
    await settle();
    await open({ predefined: true });
    await open({}, 2);
    await settle();
    for (const n of [1, 2])
      for (const incarnation of [heldOf(n).incarnation, Buffer.alloc(8, 0xee)])
        await told({ predefined: n === 1, incarnation }, n);
    assert.deepEqual([heldOf(1).ended, heldOf(1).local, heldOf(2).ended], [false, 'joined', false]);
    assert.equal(joined.stream, heldOf(1));
    const next = joining();
    await settle();
    assert.equal(next.stream, heldOf(2), 'what is offered goes first');
  });

  it('is told only where nobody could have the stream, and by a node of the same agreement', async () => {
    const seen = joining();
    await settle();
    for (const reason of ['LIMIT_EXCEEDED', 'INTERNAL', 'NOT_ALLOWED', 'OF_TOMORROW', '']) {
      await assert.rejects(
        Promise.resolve(open({ qos: undefined, refusal: { ...REFUSAL, reason } })),
        (error) => isReason(error, 'BAD_REQUEST'),
        reason,
      );
    }
    await settle();
    assert.deepEqual(seen, {});
    await told({ protocolVersion: PROTOCOL_VERSION + 1 });
    await settle();
    assert.ok(isReason(seen.error, 'REVISION_MISMATCH'), `${seen.error}`);
  });

  it('must name a KSID, and its words have an end', async () => {
    const seen = joining();
    await settle();
    const long = (length: number) => ({ refusal: { ...REFUSAL, detail: 'x'.repeat(length) } });
    for (const change of [{ keyStreamId: Buffer.alloc(15) }, long(4_097)])
      await assert.rejects(Promise.resolve(open({ qos: undefined, refusal: REFUSAL, ...change })), (error) =>
        isReason(error, 'BAD_REQUEST'),
      );
    await settle();
    assert.deepEqual(seen, {});
    await told(long(4_096));
    await settle();
    assert.equal(KeyweaveError.from(seen.error).detail.length, 1_024);
  });
});
