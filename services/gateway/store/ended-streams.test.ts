import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { EndedStreams } from './ended-streams.ts';

const stream = (id: string, peerNode = 'alice', incarnation = 1) =>
  ({ id, peerNode, incarnation: Buffer.alloc(8, incarnation) }) as KeyStream;
const why = new KeyweaveError('UNKNOWN_STREAM', 'opened anew');

describe('EndedStreams', () => {
  it('knows the incarnation of a peer’s stream that has ended, and why', () => {
    const ended = new EndedStreams(() => 0);
    ended.note(stream('a'), why);
    ended.note(stream('b'));
    assert.equal(ended.whyOf('a'), why);
    assert.equal(ended.whyOf('b'), undefined);
    assert.equal(ended.has('alice', 'a', Buffer.alloc(8, 1)), true);
    assert.equal(ended.has('alice', 'a', Buffer.alloc(8, 2)), false);
    assert.equal(ended.has('carol', 'a', Buffer.alloc(8, 1)), false);
    ended.note(stream('a', 'alice', 2));
    assert.equal(ended.whyOf('a'), undefined, 'the last end counts');
  });

  it('forgets after ten minutes', () => {
    let nowMs = 0;
    const ended = new EndedStreams(() => nowMs);
    ended.note(stream('a'), why);
    nowMs = 599_999;
    assert.equal(ended.whyOf('a'), why);
    nowMs = 600_000;
    assert.equal(ended.whyOf('a'), undefined);
    assert.equal(ended.has('alice', 'a', Buffer.alloc(8, 1)), false);
  });

  it('remembers 2,048 of each peer, so that none pushes out what another has left', () => {
    const ended = new EndedStreams(() => 0);
    ended.note(stream('honest', 'carol'), why);
    for (let n = 0; n < 5_000; n++) ended.note(stream(`flood-${n}`), why);
    assert.equal(ended.whyOf('honest'), why);
    assert.equal(ended.whyOf('flood-2951'), undefined);
    assert.equal(ended.whyOf('flood-2952'), why);
    ended.note(stream('flood-2952', 'alice', 2), why);
    ended.note(stream('one more'), why);
    assert.equal(ended.whyOf('flood-2953'), undefined);
    assert.equal(ended.whyOf('flood-2952'), why, 'the one that ended again is not the oldest any more');
  });
});
