import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamRole } from '../streams/producer.ts';
import { openByKsid, urisOf } from './pairing-by-ksid.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const OPENED = { role: 'initiator' } as KeyStream;
const OFFERED = { role: 'responder' } as KeyStream;
const IN_USE = new KeyweaveError('KSID_IN_USE', 'in use at the other node');

/** Opens as the lower or the higher node, with what each attempt comes to; gives the roles that it took. */
async function opening(
  lower: boolean,
  attempts: (KeyStream | KeyweaveError)[],
  held: (KeyStream | undefined)[] = [],
) {
  const roles: StreamRole[] = [];
  const gone = new AbortController();
  const outcome = await openByKsid({
    ...(lower ? { nodeUuid: 'a', peer: 'b' } : { nodeUuid: 'b', peer: 'a' }),
    ksid: KSID,
    held: () => held.shift(),
    open: async (role) => {
      roles.push(role);
      const next = attempts.shift();
      if (next instanceof KeyweaveError) throw next;
      return next ?? OPENED;
    },
    signal: gone.signal,
    clock: {
      after: (_ms, act) => {
        queueMicrotask(act);
        return { cancel: () => undefined };
      },
    },
  }).catch((error: unknown) => error);
  return { roles, outcome };
}

describe('a stream that its KSID alone names', () => {
  it('is named alike by both ends, after who leads', () => {
    assert.deepEqual(urisOf(KSID, 'a', 'b'), {
      source: `hybrid://${KSID}@a`,
      destination: `hybrid://${KSID}@b`,
    });
  });

  it('is offered by whoever comes first, and joined where it is offered already', async () => {
    for (const lower of [true, false]) {
      assert.deepEqual(await opening(lower, [OPENED]), { roles: ['initiator'], outcome: OPENED });
      assert.deepEqual(await opening(lower, [OFFERED], [OFFERED]), {
        roles: ['responder'],
        outcome: OFFERED,
      });
    }
  });

  it('is led by the lower node where both offer it at once', async () => {
    assert.deepEqual(await opening(false, [IN_USE, OFFERED]), {
      roles: ['initiator', 'responder'],
      outcome: OFFERED,
    });
    assert.deepEqual(await opening(true, [IN_USE, IN_USE, OPENED]), {
      roles: ['initiator', 'initiator', 'initiator'],
      outcome: OPENED,
    });
  });

  it('is joined where the other end’s offer comes while this one tries again', async () => {
    const { roles, outcome } = await opening(true, [IN_USE, OFFERED], [undefined, undefined, OFFERED]);
    assert.deepEqual(roles, ['initiator', 'responder']);
    assert.equal(outcome, OFFERED);
  });

  it('is refused where this end has it, where the other end keeps it, and for any other reason', async () => {
    const here = await opening(true, [IN_USE], [undefined, OPENED]);
    assert.deepEqual([here.roles.length, here.outcome], [1, IN_USE]);
    const kept = await opening(
      true,
      Array.from({ length: 100 }, () => IN_USE),
    );
    assert.ok(isReason(kept.outcome, 'KSID_IN_USE'));
    assert.equal(kept.roles.length, 21);
    const timeout = new KeyweaveError('TIMEOUT', 'late');
    assert.deepEqual(await opening(false, [timeout]), { roles: ['initiator'], outcome: timeout });
  });
});
