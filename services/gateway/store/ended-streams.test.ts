import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { directRoute } from '../streams/route.ts';
import { EndedStreams } from './ended-streams.ts';

const OWNER = { identity: 'CN:app', address: '127.0.0.1:1' };

const stream = (id: string, peer = 'alice', incarnation = 1) => ({
  ...{ id, route: directRoute(peer), incarnation: Buffer.alloc(8, incarnation), owner: OWNER },
});
const why = new KeyweaveError('UNKNOWN_STREAM', 'opened anew');

let clock: FakeClock;
let ended: EndedStreams;
beforeEach(() => {
  clock = new FakeClock();
  ended = new EndedStreams(clock);
});

const whyOf = (id: string) => ended.whyOf(id, () => true);

describe('EndedStreams', () => {
  it('knows the incarnation of a peer’s stream that has ended, and why', () => {
    ended.note(stream('a'), why);
    ended.note(stream('b'));
    assert.equal(whyOf('a'), why);
    assert.equal(whyOf('b'), undefined);
    assert.equal(ended.has('alice', 'a', Buffer.alloc(8, 1)), true);
    assert.equal(ended.has('alice', 'a', Buffer.alloc(8, 2)), false);
    assert.equal(ended.has('carol', 'a', Buffer.alloc(8, 1)), false);
    ended.note(stream('a', 'alice', 2));
    assert.equal(whyOf('a'), undefined, 'the last end counts');
  });

  it('tells why only who may know it, also where two peers have had the same KSID', () => {
    const other = new KeyweaveError('UNKNOWN_STREAM', 'closed');
    ended.note(stream('a', 'alice'), why);
    ended.note({ ...stream('a', 'carol'), owner: { ...OWNER, identity: 'CN:other' } }, other);
    const told = (identity: string) => ended.whyOf('a', (owner) => owner?.identity === identity);
    assert.deepEqual([told('CN:app'), told('CN:other'), told('CN:mallory')], [why, other, undefined]);
  });

  it('forgets after ten minutes', async () => {
    ended.note(stream('a'), why);
    await clock.advance(599_999);
    assert.equal(whyOf('a'), why);
    await clock.advance(1);
    assert.equal(whyOf('a'), undefined);
    assert.equal(ended.has('alice', 'a', Buffer.alloc(8, 1)), false);
  });

  it('remembers 2,048 of each peer, so that none pushes out what another has left', () => {
    ended.note(stream('honest', 'carol'), why);
    for (let n = 0; n < 5_000; n++) ended.note(stream(`flood-${n}`), why);
    assert.equal(whyOf('honest'), why);
    assert.equal(whyOf('flood-2951'), undefined);
    assert.equal(whyOf('flood-2952'), why);
    ended.note(stream('flood-2952', 'alice', 2), why);
    ended.note(stream('one more'), why);
    assert.equal(whyOf('flood-2953'), undefined);
    assert.equal(whyOf('flood-2952'), why, 'the one that ended again is not the oldest any more');
  });
});
