import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { Demands } from './demands.ts';

const why = new KeyweaveError('QKD_UNAVAILABLE', 'no link');
const full = new KeyweaveError('NO_ROOM', 'it holds 16 unread keys');

let demands: Demands;

beforeEach(() => {
  demands = new Demands();
});

const ask = (count: number, { waits = true, coming = 0, nowMs = 0 } = {}) =>
  demands.ask(count, { waits, coming, nowMs });
const asksInVain = (nowMs: number, error = why) =>
  assert.throws(
    () => ask(3, { nowMs }),
    (thrown) => thrown === error,
  );

describe('what both ends of a stream lack', () => {
  it('is nothing at first', () => {
    assert.deepEqual([demands.count, demands.waitsThere], [0, false]);
  });

  it('is the more of the two, since chunks for the one end are made for the other, too', () => {
    demands.want(3);
    ask(5);
    assert.equal(demands.count, 5);
    demands.want(7);
    assert.equal(demands.count, 7);
    demands.want(0);
    assert.equal(demands.count, 5);
  });

  it('is less by every batch that is on its way, and never less than nothing', () => {
    demands.want(3);
    ask(5);
    demands.begun(2);
    assert.equal(demands.count, 3);
    demands.begun(2);
    assert.equal(demands.count, 1);
    demands.begun(9);
    assert.equal(demands.count, 0);
    demands.want(1);
    assert.equal(demands.count, 1);
  });

  it('is what this end says last, but for what has failed and is wanted again', () => {
    demands.want(5);
    demands.want(2);
    assert.equal(demands.count, 2);
    demands.wantAgain(4);
    assert.equal(demands.count, 4);
    demands.wantAgain(1);
    assert.equal(demands.count, 4);
  });

  it('is what the other end asks for beyond what is coming, and one at least where nothing is', () => {
    ask(5, { coming: 3 });
    assert.equal(demands.count, 2);
    ask(1, { coming: 3 });
    assert.equal(demands.count, 2, 'it asked for more before');
    demands.begun(2);
    ask(2, { coming: 3 });
    assert.equal(demands.count, 0, 'it is coming');
    ask(0, { coming: 0 });
    assert.equal(demands.count, 1);
  });

  it('is urgent where somebody at the other end waits for what is still to be made', () => {
    ask(2, { waits: true });
    assert.equal(demands.waitsThere, true);
    demands.begun(1);
    assert.equal(demands.waitsThere, true);
    demands.begun(1);
    assert.equal(demands.waitsThere, false);
    ask(2, { waits: false });
    assert.equal(demands.waitsThere, false);
  });
});

describe('the other end', () => {
  it('is told once, in the answer to its next question, why it asked in vain', () => {
    ask(3);
    demands.giveUp(why, 1_000);
    assert.deepEqual([demands.count, demands.waitsThere], [0, false]);
    asksInVain(2_000);
    assert.equal(demands.count, 0, 'a question that was answered so asks for nothing');
    ask(3, { nowMs: 2_001 });
    assert.equal(demands.count, 3);
  });

  it('is told within five seconds, or not at all', () => {
    ask(3);
    demands.giveUp(why, 1_000);
    asksInVain(6_000);
    ask(3);
    demands.giveUp(why, 1_000);
    ask(3, { nowMs: 6_000.1 });
    assert.equal(demands.count, 3);
    demands.giveUp(why, 7_000);
    asksInVain(7_001);
  });

  it('is told nothing where it has not asked', () => {
    demands.want(3);
    demands.giveUp(why, 0);
    ask(3);
    assert.equal(demands.count, 3);
  });

  it('is told nothing once chunks have come', () => {
    ask(3);
    demands.giveUp(why, 0);
    demands.met();
    ask(3);
    demands.met();
    demands.giveUp(why, 0);
    ask(3);
  });

  it('that is told already has to ask again before it is told anything more', () => {
    ask(3);
    demands.giveUp(why, 0);
    demands.giveUp(full, 0);
    asksInVain(1, why);
    demands.giveUp(full, 2);
    ask(3, { nowMs: 3 });
    demands.giveUp(full, 4);
    asksInVain(5, full);
  });

  it('that has no room gets nothing and is told so; what this end lacks stays', () => {
    demands.want(2);
    ask(5);
    demands.noRoomThere(full, 0);
    assert.deepEqual([demands.count, demands.waitsThere], [2, false]);
    asksInVain(1, full);
  });
});
