import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  ALICE,
  BOB,
  CAROL,
  from,
  type Openings,
  offerOf,
  openingsOf,
  settle,
  wishOf,
} from '#test/helpers/openings.ts';

let bob: Openings;

beforeEach(() => {
  bob = openingsOf(BOB, {}, 2);
});

const offered = (n: number, peer = ALICE) => bob.agreement.open(offerOf('app', peer, BOB, n, {}), from(peer));

/** An application whose listener has a floor that no stream meets, or another one. */
function joining(isChoosy: boolean) {
  const seen: { stream?: string; error?: unknown } = {};
  const judge = () => {
    if (isChoosy) throw new KeyweaveError('UNSUPPORTED', 'below the floor of the listener');
  };
  bob.responder.open(wishOf('app', ALICE, BOB, { judge })).then(
    ({ id }) => Object.assign(seen, { stream: id }),
    (error: unknown) => Object.assign(seen, { error }),
  );
  return seen;
}

describe('an offer below the floor', () => {
  it('of the node is refused to the peer and to the application, and is no stream', async () => {
    bob.config.policy.floor = { methods: ['kmac256'] };
    const waiting = joining(false);
    await settle();
    const isRefusal = (error: unknown) =>
      isReason(error, 'UNSUPPORTED') &&
      /^policy\.floor\.methods of node/.test(KeyweaveError.from(error).detail);
    await assert.rejects(offered(1), isRefusal);
    await settle();
    assert.ok(isRefusal(waiting.error));
    assert.equal(bob.store.size, 0);
  });

  it('of a peer counts for the streams with it alone', async () => {
    bob.config.policy.peers = { [ALICE]: { floor: { methods: ['kmac256'] } } };
    await assert.rejects(offered(1), (error) => isReason(error, 'UNSUPPORTED'));
    await offered(2, CAROL);
    assert.equal(bob.store.size, 1);
  });

  it('of a listener is left for the applications of others', async () => {
    const first = joining(true);
    const second = joining(false);
    await settle();
    await offered(1);
    await settle();
    assert.ok(isReason(first.error, 'UNSUPPORTED'));
    assert.equal(second.stream, [...bob.store.all()][0]?.id);
    await offered(2);
    const third = joining(true);
    const fourth = joining(false);
    await settle();
    assert.ok(isReason(third.error, 'UNSUPPORTED'));
    assert.ok(fourth.stream !== undefined && fourth.stream !== second.stream);
  });
});
