import { STATUS_TABLE } from '#common/errors/status-table.ts';
import { streamHash } from '#common/ids/stream-hash.ts';
import { systemClock } from '#common/time/clock.ts';
import { holdingsBy, noHoldings, type ObservedStream } from '../../streams/held/holdings.ts';
import { sourcesOf } from '../../streams/policy/lacking.ts';
import type { RefusedRequest, StreamFacts, StreamListener } from '../../streams/stream-events.ts';
import type { RefusalState, StreamState } from './answers.ts';

/** Streams that are told one by one, those that have delivered most. */
const MOST_SHOWN = 100;

/** Of all streams with one peer. */
export interface PeerCounts {
  streams: number;
  joined: number;
  ready: number;
  coming: number;
  waiting: number;
  /** Since the gateway began. */
  delivered: number;
  made: number;
}

export interface StreamsNow {
  readonly total: number;
  readonly shown: readonly StreamState[];
  readonly peers: ReadonlyMap<string, Readonly<PeerCounts>>;
}

/**
 * What the gateway itself knows of its streams. It counts what is told of
 * them; what they hold is looked at when somebody asks.
 */
export class StreamWatch implements StreamListener {
  readonly #streams: () => Iterable<ObservedStream>;
  readonly #wallMs: () => number;
  /** Keys that went to applications of this end. */
  readonly #delivered = new WeakMap<StreamFacts, number>();
  /** Peers that there have been streams with: trusted ones alone. */
  readonly #totals = new Map<string, { delivered: number; made: number }>();
  /** By call and reason, both of fixed lists. */
  readonly #refusals = new Map<string, RefusalState>();

  /** @param streams all that there are. */
  constructor(streams: () => Iterable<ObservedStream>, wallMs = systemClock.wallMs) {
    this.#streams = streams;
    this.#wallMs = wallMs;
  }

  delivered(stream: StreamFacts): void {
    this.#delivered.set(stream, (this.#delivered.get(stream) ?? 0) + 1);
    this.#totalsOf(stream.route.farNode).delivered += 1;
  }

  released(stream: StreamFacts, _first: number, count: number): void {
    this.#totalsOf(stream.route.farNode).made += count;
  }

  /** What the error says in words may quote the application: the reason alone is kept. */
  refused({ call, error: { reason } }: RefusedRequest): void {
    const key = `${call} ${reason}`;
    const total = (this.#refusals.get(key)?.total ?? 0) + 1;
    const status = STATUS_TABLE[reason].etsi004;
    this.#refusals.set(key, { call, reason, status, total, lastAt: this.#wallMs() });
  }

  /** The latest first. */
  get refusals(): RefusalState[] {
    return [...this.#refusals.values()].sort((one, other) => other.lastAt - one.lastAt);
  }

  now(): StreamsNow {
    const all = [...this.#streams()];
    const held = holdingsBy(all, ({ route }) => route.farNode);
    const peers = new Map<string, PeerCounts>();
    for (const peer of new Set([...this.#totals.keys(), ...held.keys()])) {
      const { open: streams, buffered: ready, ...holds } = held.get(peer) ?? noHoldings();
      peers.set(peer, { streams, ready, ...holds, ...(this.#totals.get(peer) ?? { delivered: 0, made: 0 }) });
    }
    const count = (stream: ObservedStream) => this.#delivered.get(stream) ?? 0;
    const shown = all.sort((one, other) => count(other) - count(one)).slice(0, MOST_SHOWN);
    return { total: all.length, shown: shown.map((stream) => stateOf(stream, count(stream))), peers };
  }

  #totalsOf(peer: string): { delivered: number; made: number } {
    const found = this.#totals.get(peer) ?? { delivered: 0, made: 0 };
    this.#totals.set(peer, found);
    return found;
  }
}

function stateOf(stream: ObservedStream, delivered: number): StreamState {
  const { id, role, route, terms, buffer, producer, local, peer } = stream;
  return {
    stream: streamHash(id),
    ...{ peer: route.farNode, role, method: terms.method.name, sources: sourcesOf(terms, false) },
    ...{ here: local, there: peer, ready: buffer.size, coming: producer.coming, waiting: buffer.waiting },
    delivered,
  };
}
