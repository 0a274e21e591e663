import assert from 'node:assert/strict';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import { HeldBatches } from '../../services/gateway/production/responder/held-batches.ts';
import type { KeyStream } from '../../services/gateway/streams/key-stream.ts';
import type { MayLack } from '../../services/gateway/streams/policy/lacking.ts';
import { StreamEvents } from '../../services/gateway/streams/stream-events.ts';
import type { StreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { FakeClock } from './fake-clock.ts';
import { IdleProducer, keyStream, qkdReference, termsOf } from './streams.ts';

/** The responder's batches of a stream, which a test makes and confirms. */

const PUBLIC_KEY_BYTES = 1184;
const INCARNATION = Buffer.alloc(8, 1);
/** Every tag of what `held` holds. */
export const TAG = Buffer.alloc(32, 7);

export let stream: KeyStream;
export let batches: HeldBatches;
export let producer: IdleProducer;
export let clock: FakeClock;
/** What listeners were told of batches that were dropped. */
export let dropped: [first: number, count: number, reason: ErrorReason][];

/** A new stream with nothing held. */
export function begin(
  change: {
    sources?: readonly string[];
    method?: string;
    terms?: StreamTerms;
    allowDegraded?: boolean;
    mayLack?: MayLack;
    maxBufferedChunks?: number;
  } = {},
): void {
  const { sources = ['ML-KEM-768', 'QKD'], method = 'xoring', allowDegraded = false } = change;
  clock = new FakeClock();
  dropped = [];
  producer = new IdleProducer('responder');
  // The batches that are held are on their way.
  Object.defineProperty(producer, 'coming', { get: () => batches.coming });
  stream = keyStream({
    incarnation: INCARNATION,
    terms: change.terms ?? termsOf(method, sources),
    role: 'responder',
    qos: { timeoutMs: 1000, metadataMimetype: '' },
    allowDegraded,
    ...(change.mayLack && { mayLack: change.mayLack }),
    maxBufferedChunks: change.maxBufferedChunks ?? 16,
    clock,
    events: new StreamEvents([
      { dropped: (_, first, count, { reason }) => void dropped.push([first, count, reason]) },
    ]),
    producer: () => producer,
  });
  batches = new HeldBatches(stream, clock);
}

/** An offer of a stream of one ML-KEM-768 and QKD. */
export function offer(firstIndex: number, count: number, change: Partial<BatchOffer> = {}): BatchOffer {
  return {
    keyStreamId: stream.idBytes,
    incarnation: INCARNATION,
    firstIndex,
    count,
    publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(count * PUBLIC_KEY_BYTES) }],
    qkd: qkdReference(),
    degradedSlot: 0,
    ...change,
  };
}

/** Admits a batch and holds keys for it whose bytes are all `value`. */
export function held(firstIndex: number, count: number, value: number): Buffer {
  const batch = offer(firstIndex, count);
  batches.admit(batch);
  const keys = Buffer.alloc(count * 32, value);
  batches.hold(batch, { count, keys, initiatorTags: Buffer.alloc(count * 32, TAG) });
  return keys;
}

/** Whether the batch is released when the initiator confirms it with `tag` for each chunk. */
export const confirm = (firstIndex: number, count: number, tag = TAG): boolean =>
  batches.confirm({
    keyStreamId: stream.idBytes,
    incarnation: INCARNATION,
    firstIndex,
    count,
    initiatorTags: Buffer.alloc(count * tag.length, tag),
  }).released;

export const refuses = (batch: BatchOffer, reason: ErrorReason, what = `${reason} expected`): void =>
  assert.throws(
    () => batches.admit(batch),
    (error) => isReason(error, reason),
    what,
  );
