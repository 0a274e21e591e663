import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import { ALICE, APPLICATION, BOB, type Openings, openingsOf, QOS } from '#test/helpers/openings.ts';
import type { OpenConnect } from './key-delivery.ts';

let alice: Openings;

beforeEach(() => {
  alice = openingsOf(ALICE);
});

const uri = (node: string) => `hybrid://app@${node}`;

function open(change: Partial<OpenConnect> = {}) {
  return alice.delivery.open({
    ...{ source: uri(ALICE), destination: uri(BOB), qos: QOS, presence: 'app', owner: APPLICATION },
    ...{ defaults: { method: 'hkdf-sha384', keySources: ['ML-KEM-768', 'QKD'] } },
    signal: new AbortController().signal,
    ...change,
  });
}

const refusedAs =
  (reason: ErrorReason, words = /./) =>
  (error: unknown) =>
    isReason(error, reason) && words.test(String(error));

/** Why the other end is told that what this one would offer is not opened. */
const toldBob = () =>
  (alice.peerOf(BOB).requests('open') as OpenRequest[]).flatMap(({ refusal }) => refusal ?? []);

describe('an OPEN_CONNECT that the initiator refuses', () => {
  it('since no engine of the node can do it is told to the other end, too', async () => {
    const refusal = new KeyweaveError('UNSUPPORTED', 'no engine');
    alice = openingsOf(ALICE, {}, 1, async () => Promise.reject(refusal));
    await assert.rejects(open(), (error) => error === refusal);
    assert.deepEqual(toldBob(), [{ reason: 'UNSUPPORTED', detail: 'no engine' }]);
    assert.equal(alice.store.size, 0);
  });

  for (const [of, floor] of [
    ['of the node', { floor: { methods: ['kmac256' as const] } }],
    ['for the peer', { peers: { [BOB]: { floor: { methods: ['kmac256' as const] } } } }],
  ] as const) {
    it(`since it is below a floor ${of} is told to the other end in the same words`, async () => {
      Object.assign(alice.config.policy, floor);
      await assert.rejects(open(), refusedAs('UNSUPPORTED', new RegExp(`floor.methods of node ${ALICE}`)));
      const [told, ...more] = toldBob();
      assert.equal(told?.reason, 'UNSUPPORTED');
      assert.match(told?.detail ?? '', /^policy\..*floor\.methods of node/);
      assert.deepEqual(more, []);
      await assert.rejects(
        open({ source: uri(BOB), destination: uri(ALICE) }),
        refusedAs('UNSUPPORTED', /floor\.methods/),
      );
      assert.equal(toldBob().length, 1, 'the responder has nothing to offer');
    });
  }

  it('for its listener’s sake, or of a listener itself, is told to nobody else', async () => {
    const policy = { path: 'listeners.json.policy', floor: { methods: ['kmac256' as const] } };
    await assert.rejects(open({ policy }), refusedAs('UNSUPPORTED', /listeners\.json\.policy\.floor/));
    alice.config.policy.floor = { methods: ['kmac256'] };
    const names = { source: `hybrid://listener~x@${ALICE}`, destination: `hybrid://listener~x@${BOB}` };
    await assert.rejects(open({ ...names, byListener: { readyKeys: 7 } }), refusedAs('UNSUPPORTED'));
    assert.deepEqual(toldBob(), []);
  });

  it('for the moment only is told to nobody else', async () => {
    for (const refusal of ['SERVICE_UNAVAILABLE', 'LIMIT_EXCEEDED'] as const) {
      alice = openingsOf(ALICE, {}, 1, async () => Promise.reject(new KeyweaveError(refusal, 'x')));
      await assert.rejects(open(), refusedAs(refusal));
      assert.deepEqual(toldBob(), []);
    }
  });
});
