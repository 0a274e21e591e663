import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB, CAROL, ksidOf, offerOf, settle, termsOf, wishOf } from '#test/helpers/openings.ts';
import { keyStream } from '#test/helpers/streams.ts';
import type { StreamWish } from './stream-wish.ts';
import { WaitingApplications } from './waiting-applications.ts';

let clock: FakeClock;
let waiting: WaitingApplications;

beforeEach(() => {
  clock = new FakeClock();
  waiting = new WaitingApplications(clock);
});

const offer = (n: number, app = 'app') =>
  keyStream({ id: ksidOf(n).text, terms: termsOf(app, ALICE, BOB), role: 'responder' });

/** An application that waits, and what it came to by now. */
function application(change: Partial<StreamWish> = {}, app = 'app') {
  const seen: { got?: unknown; error?: unknown } = {};
  waiting.wait(wishOf(app, ALICE, BOB, change), 1_000).then(
    (stream) => {
      seen.got = stream ?? 'nothing';
    },
    (error: unknown) => {
      seen.error = error;
    },
  );
  return seen;
}

describe('WaitingApplications', () => {
  it('gives a stream to the first one whom it fits, whose it is at once', async () => {
    const other = application({}, 'other');
    const owner = { identity: 'CN:first', address: '127.0.0.1:1' };
    const [first, second] = [application({ owner }), application()];
    const stream = offer(1);
    assert.equal(waiting.give(stream), true);
    assert.deepEqual([stream.local, stream.owner], ['joined', owner]);
    await settle();
    assert.deepEqual([first.got, second.got, other.got], [stream, undefined, undefined]);
    assert.equal(waiting.give(offer(2)), true);
    assert.equal(waiting.give(offer(3)), false, 'nobody waits any more');
  });

  it('gives nothing to one that has gone away in this very turn, or whose time is over', async () => {
    const gone = new AbortController();
    const seen = application({ signal: gone.signal });
    gone.abort();
    assert.equal(waiting.give(offer(1)), false);
    await settle();
    assert.equal(seen.got, 'nothing');
    const late = application();
    await clock.advance(1_001);
    assert.equal(late.got, 'nothing');
    const left = offer(2);
    assert.deepEqual([waiting.give(left), left.local], [false, 'absent']);
  });

  it('has the first one look again, and gives it nothing by that', async () => {
    const [first, second] = [application(), application()];
    const stream = offer(1);
    waiting.rouse(stream);
    await settle();
    assert.deepEqual([first.got, second.got, stream.local], ['nothing', undefined, 'absent']);
  });

  it('tells the first one that waits for an offer why it was refused, and no other', async () => {
    const named = application({ ksid: ksidOf(7).text });
    const [first, second] = [application(), application()];
    const request = offerOf('app', ALICE, BOB, 1);
    assert.equal(waiting.refuse(request, ksidOf(1).text, CAROL, 'of another peer'), false);
    assert.equal(waiting.refuse(request, ksidOf(1).text, ALICE, 'why'), true);
    await settle();
    assert.deepEqual([first.error, second.error, named.error], ['why', undefined, undefined]);
    const predefined = { ...request, predefined: true };
    assert.equal(waiting.refuse(predefined, ksidOf(7).text, ALICE, 'why, too'), true);
    await settle();
    assert.deepEqual([second.error, named.error], [undefined, 'why, too']);
  });

  it('keeps a KSID that one has named for its pair', () => {
    application({ ksid: ksidOf(1).text });
    waiting.assertPair(ksidOf(1).text, termsOf('app', ALICE, BOB));
    waiting.assertPair(ksidOf(2).text, termsOf('other', ALICE, BOB));
    assert.throws(
      () => waiting.assertPair(ksidOf(1).text, termsOf('other', ALICE, BOB)),
      (error) => isReason(error, 'KSID_IN_USE') && /11111111… belongs to another/.test(`${error}`),
    );
  });
});
