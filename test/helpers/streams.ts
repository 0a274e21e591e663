import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { BatchAnswer } from '#gen/keyweave/v1/key_agreement.ts';
import { KeyStream, type KeyStreamOptions } from '../../services/gateway/streams/key-stream.ts';
import { parseStreamTerms, type StreamTerms } from '../../services/gateway/streams/stream-terms.ts';

export const ALICE = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
export const BOB = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
export const CAROL = 'cccccccc-cccc-cccc-cccc-cccccccccccc';

/** The signal of an application that stays. */
export const LIVING: AbortSignal = new AbortController().signal;

export const QOS: Qos = {
  ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 10_000, ttlS: 0 },
  metadataMimetype: 'application/json',
};

/** What the URIs of two applications say: of Alice's and Bob's nodes where nothing else is given. */
export function termsOf(method: string, keySources: readonly string[], nodes = [ALICE, BOB]): StreamTerms {
  return parseStreamTerms(`hybrid://app@${nodes[0]}`, `hybrid://app@${nodes[1]}`, { method, keySources });
}

/** One end of a stream between Alice, the initiator, and Bob; its clock stands still. */
export function keyStream(
  change: Partial<Omit<KeyStreamOptions, 'qos'>> & { qos?: Partial<Qos> } = {},
): KeyStream {
  const { qos, role = 'initiator', ...others } = change;
  return new KeyStream({
    id: '11111111-1111-4111-8111-111111111111',
    incarnation: Buffer.alloc(8, 1),
    terms: termsOf('hkdf-sha384', ['ML-KEM-768', 'QKD']),
    role,
    peerNode: role === 'initiator' ? BOB : ALICE,
    predefined: false,
    allowDegraded: false,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    now: () => 0,
    ...others,
    qos: { ...QOS, ...qos },
  });
}

/** A responder's answer to an offer, of `count` chunks, that says nothing of itself. */
export const answerOf = (count: number): BatchAnswer => ({
  ...{ count, ciphertexts: [], responderTags: Buffer.alloc(0), buffered: 0, failure: undefined },
  ...{ qkdBlockKeys: 0, most: 0 },
});
