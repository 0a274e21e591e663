import type { NodeConfig } from '#common/config/node-config.ts';
import type { Clock } from '#common/time/clock.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { SharedSeeds } from '../clients/shared-seeds.ts';
import type { StreamStore } from '../store/stream-store.ts';
import { KeyStream } from '../streams/key-stream.ts';
import type { MayLack } from '../streams/policy/lacking.ts';
import type { Producer, StreamRole } from '../streams/producer.ts';
import { directRoute } from '../streams/route.ts';
import type { StreamEvents } from '../streams/stream-events.ts';
import { farNodeOf, type StreamTerms } from '../streams/stream-terms.ts';

export interface NewStream {
  readonly ksid: string;
  /** 8 bytes; copied. */
  readonly incarnation: Uint8Array;
  readonly terms: StreamTerms;
  readonly role: StreamRole;
  readonly qos: Qos;
  readonly predefined: boolean;
  /** Whether both nodes let a shared_seed stand in for a source, as far as is known by now. */
  readonly allowDegraded: boolean;
  /** What both nodes let a chunk lack, as far as is known by now; absent = nothing. */
  readonly mayLack?: MayLack;
}

/** Makes what makes the chunks of one end. */
export interface ProducerMaker<P extends Producer> {
  initiator(stream: KeyStream<P>): P;
  responder(stream: KeyStream<P>): P;
}

export interface StreamFactoryOptions<P extends Producer> {
  readonly limits: Pick<
    NodeConfig['limits'],
    'max_prefetch_chunks' | 'max_buffered_chunks' | 'max_buffered_bytes'
  >;
  readonly policy: NodeConfig['policy'];
  readonly seeds: SharedSeeds;
  readonly store: Pick<StreamStore, 'heldFor'>;
  readonly producers: ProducerMaker<P>;
  readonly events: StreamEvents;
  readonly clock: Clock;
}

/** Makes this end of a stream, within this node's limits. */
export class StreamFactory<P extends Producer = Producer> {
  readonly #o: StreamFactoryOptions<P>;

  constructor(options: StreamFactoryOptions<P>) {
    this.#o = options;
  }

  create({ ksid, role, terms, ...others }: NewStream): KeyStream<P> {
    const { limits, store, producers, events, clock } = this.#o;
    const route = directRoute(farNodeOf(terms, role));
    return new KeyStream<P>({
      ...others,
      ...{ id: ksid, role, terms, route, clock, events },
      maxPrefetchChunks: limits.max_prefetch_chunks,
      maxBufferedChunks: limits.max_buffered_chunks,
      maxBufferedBytes: limits.max_buffered_bytes,
      held: store.heldFor(route.nextHop),
      producer: (stream) =>
        role === 'initiator' ? producers.initiator(stream) : producers.responder(stream),
    });
  }

  /** Whether this node's policy lets a shared_seed stand in for a source of a stream with `farNode`. */
  mayDegrade(farNode: string): boolean {
    const { policy, seeds } = this.#o;
    return policy.missing_source === 'shared_seed' && seeds.of(farNode) !== undefined;
  }
}
