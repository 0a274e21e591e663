import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PeerReach } from './peer-reach.ts';

const AWAY = new KeyweaveError('PEER_UNREACHABLE', 'gone');

describe('PeerReach', () => {
  it('waits longer with each round that does not get through, and never long', () => {
    let nowMs = 0;
    const reach = new PeerReach({ monotonicMs: () => nowMs });
    const pauses: number[] = [];
    for (let i = 0; i < 7; i++) {
      reach.note(AWAY);
      const from = nowMs;
      while (reach.refusal) nowMs += 1;
      pauses.push(nowMs - from);
      assert.equal(reach.isDoubtful, true);
    }
    assert.deepEqual(pauses, [50, 100, 200, 400, 500, 500, 500]);
  });

  it('counts rounds that were under way together as one', () => {
    let nowMs = 0;
    const reach = new PeerReach({ monotonicMs: () => nowMs });
    for (let i = 0; i < 100; i++) reach.note(AWAY);
    nowMs = 50;
    assert.equal(reach.refusal, undefined);
  });

  it('is over with the first round that is answered, or lost for a reason of its own', () => {
    for (const answer of [undefined, new KeyweaveError('BAD_REQUEST', 'what?')]) {
      const reach = new PeerReach({ monotonicMs: () => 0 });
      reach.note(AWAY);
      assert.equal(reach.refusal, AWAY);
      reach.note(answer);
      assert.equal(reach.refusal, undefined);
      assert.equal(reach.isDoubtful, false);
    }
  });
});
