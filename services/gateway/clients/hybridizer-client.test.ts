import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound, type Outcome } from '#common/errors/outcome.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { DeriveBatch, DerivedBatch, DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import { createHybridizerClient, type DerivedKeys, TAG_BYTES } from './hybridizer-client.ts';
import { STEP_TIMEOUT_MS } from './step-limits.ts';

/** Batches of each call, and its limit of time. */
let calls: { firsts: number[]; timeoutMs: number }[];
/** Everything in which the hybridizer gave keys. */
let given: Uint8Array[];
/** What the hybridizer answers to a batch. */
let answer: (batch: DeriveBatch) => Partial<DerivedBatch>;
let answers: (all: DerivedBatch[]) => DerivedBatch[];

const client = createHybridizerClient({
  derive: async (request, options) => {
    const { batches } = request as DeriveRequest;
    calls.push({ firsts: batches.map(({ firstIndex }) => firstIndex), timeoutMs: options?.timeoutMs ?? 0 });
    return { batches: answers(batches.map((batch) => ({ ...whole(batch), ...answer(batch) }))) };
  },
});

function whole({ count, chunkBytes, firstIndex }: DeriveBatch): DerivedBatch {
  const keys = new Uint8Array(count * chunkBytes).fill(firstIndex + 1);
  given.push(keys);
  return {
    keys,
    initiatorTags: new Uint8Array(count * TAG_BYTES).fill(0x11),
    responderTags: new Uint8Array(count * TAG_BYTES).fill(0x22),
    failure: undefined,
  };
}

const batch = (firstIndex: number, count = 2, chunkBytes = 48): DeriveBatch => ({
  ...{ method: 'xoring', chunkBytes, firstIndex, count, context: undefined },
  slots: [],
});
const isZero = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);
const isWrongSize = (outcome: Outcome<DerivedKeys> | undefined) =>
  isReason(outcome, 'INTERNAL') && /keys of the wrong size/.test(String(outcome));

beforeEach(() => {
  [calls, given] = [[], []];
  answer = () => ({});
  answers = (all) => all;
});

describe('the client of the hybridizer', () => {
  it('gives each batch its keys and tags, in one call with a limit of time', async () => {
    const [one, other] = await client.derive([batch(0), batch(2, 1)]);
    assert.deepEqual(calls, [{ firsts: [0, 2], timeoutMs: STEP_TIMEOUT_MS.derive }]);
    assert.deepEqual(one, {
      keys: Buffer.alloc(96, 1),
      initiatorTags: Buffer.alloc(64, 0x11),
      responderTags: new Uint8Array(64).fill(0x22),
    });
    assert.deepEqual((other as DerivedKeys).keys, Buffer.alloc(48, 3));
  });

  it('gives keys in memory of their own, and leaves none in the message', async () => {
    const [one] = await client.derive([batch(0)]);
    assert.ok(one && isSound(one));
    assert.equal(one.keys.buffer.byteLength, one.keys.length);
    assert.equal(one.initiatorTags.buffer.byteLength, one.initiatorTags.length);
    assert.ok(given.every(isZero));
  });

  it('asks nothing for nobody', async () => {
    assert.deepEqual(await client.derive([]), []);
    assert.deepEqual(calls, []);
  });

  for (const [what, change] of [
    ['keys are too short', { keys: new Uint8Array(95).fill(7) }],
    ['keys are too long', { keys: new Uint8Array(97).fill(7) }],
    ['tags of the initiator are missing', { initiatorTags: new Uint8Array(0) }],
    ['tags of the responder are too few', { responderTags: new Uint8Array(32) }],
  ] as const) {
    it(`refuses a batch whose ${what}, wipes its keys, and takes the others`, async () => {
      answer = ({ firstIndex }) => (firstIndex === 0 ? change : {});
      const [bad, good] = await client.derive([batch(0), batch(2)]);
      assert.ok(isWrongSize(bad));
      assert.deepEqual((good as DerivedKeys).keys, Buffer.alloc(96, 3));
      const refused = 'keys' in change ? change.keys : (given[0] as Uint8Array);
      assert.ok(isZero(refused));
    });
  }

  it('refuses what it has no answer for', async () => {
    answers = (all) => all.slice(0, 1);
    const [good, none] = await client.derive([batch(0), batch(2)]);
    assert.ok(good && isSound(good));
    assert.ok(isWrongSize(none));
  });

  it('says what the hybridizer says of a batch, of that batch alone', async () => {
    const failure = { reason: 'SOURCE_FAULT', detail: 'slots 1 and 2 gave the same secret' };
    answer = ({ firstIndex }) => (firstIndex === 2 ? { failure } : {});
    const [good, bad] = await client.derive([batch(0), batch(2)]);
    assert.ok(good && isSound(good));
    assert.match(String(bad), /SOURCE_FAULT: slots 1 and 2/);
  });

  it('fails the batches of a call that fails, and no others; never rejects', async () => {
    const chunks = Math.ceil(MESSAGE_LIMITS.deriveBytes.filled / 65_536);
    const many = [batch(0, chunks, 65_536), batch(100, chunks, 65_536), batch(200)];
    answers = (all) => {
      if (calls.length === 1) throw new KeyweaveError('SERVICE_UNAVAILABLE', 'restarting');
      return all;
    };
    const [lost, ...made] = await client.derive(many);
    assert.ok(calls.length >= 2, `${calls.length} calls`);
    assert.ok(isReason(lost, 'SERVICE_UNAVAILABLE'));
    assert.ok(made.every((one) => isSound(one)));
    answers = () => {
      throw new TypeError('what?');
    };
    const outcomes = await client.derive([batch(0), batch(2)]);
    assert.ok(outcomes.every((outcome) => isReason(outcome, 'INTERNAL')));
  });
});
