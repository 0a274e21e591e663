import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { BatchAnswer, QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { KeyStream, type KeyStreamOptions } from '../../services/gateway/streams/key-stream.ts';
import type { Producer, StreamRole } from '../../services/gateway/streams/producer.ts';
import { directRoute } from '../../services/gateway/streams/route.ts';
import { StreamEvents } from '../../services/gateway/streams/stream-events.ts';
import { parseStreamTerms, type StreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { FakeClock } from './fake-clock.ts';

export const ALICE = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
export const BOB = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
export const CAROL = 'cccccccc-cccc-cccc-cccc-cccccccccccc';

/** The signal of an application that stays. */
export const LIVING: AbortSignal = new AbortController().signal;

export const QOS: Qos = {
  ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 10_000, ttlS: 86_400 },
  metadataMimetype: 'application/json',
};

/** What the URIs of two applications say: of Alice's and Bob's nodes where nothing else is given. */
export function termsOf(method: string, keySources: readonly string[], nodes = [ALICE, BOB]): StreamTerms {
  return parseStreamTerms(`hybrid://app@${nodes[0]}`, `hybrid://app@${nodes[1]}`, { method, keySources });
}

/** A producer that makes nothing and says what it was asked for. */
export class IdleProducer implements Producer {
  readonly role: StreamRole;
  coming = 0;
  wanted: number[] = [];
  stopped = 0;

  constructor(role: StreamRole = 'initiator') {
    this.role = role;
  }

  want(count: number): void {
    this.wanted.push(count);
  }

  stop(): void {
    this.stopped += 1;
  }
}

export type StreamChange<P extends Producer = Producer> = Partial<Omit<KeyStreamOptions<P>, 'qos'>> & {
  qos?: Partial<Qos>;
  /** Where the other application stands from the beginning. */
  peer?: 'joined';
};

/** One end of a stream between Alice, the initiator, and Bob; where nothing else is said its clock stands still and nothing makes its chunks. */
export function keyStream<P extends Producer = Producer>(change: StreamChange<P> = {}): KeyStream<P> {
  const { qos, role = 'initiator', peer, ...others } = change;
  const stream = new KeyStream<P>({
    id: '11111111-1111-4111-8111-111111111111',
    incarnation: Buffer.alloc(8, 1),
    terms: termsOf('hkdf-sha384', ['ML-KEM-768', 'QKD']),
    role,
    route: directRoute(role === 'initiator' ? BOB : ALICE),
    predefined: false,
    allowDegraded: false,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    clock: new FakeClock(),
    events: new StreamEvents(),
    producer: () => new IdleProducer(role) as Producer as P,
    ...others,
    qos: { ...QOS, ...qos },
  });
  if (peer) stream.peerJoined();
  return stream;
}

/** A responder's answer to an offer, of `count` chunks, that says nothing of itself. */
export const answerOf = (count: number): BatchAnswer => ({
  ...{ count, ciphertexts: [], responderTags: Buffer.alloc(0), buffered: 0, failure: undefined },
  ...{ qkdBlockKeys: 0, most: 0, qkdTaken: 0 },
});

/** A reference to the first key of the first epoch of a reservoir. */
export const qkdReference = (change: Partial<QkdReference> = {}): QkdReference => ({
  ...{ epoch: 0, qkdKeyStreamId: '', position: 0n, blockKeys: 1, burned: 0n, read: 0n },
  reservoir: Buffer.alloc(16, 1),
  keyNames: [],
  ...change,
});
