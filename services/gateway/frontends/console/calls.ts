import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import { VERSION } from '#common/service/version.ts';
import { type Clock, systemClock, type Timer } from '#common/time/clock.ts';
import type { StreamDirectory } from '../../delivery/key-delivery.ts';
import type { LinkBalance } from '../../reservoirs/reservoirs.ts';
import type { Query } from '../http/request-target.ts';
import { type AlgorithmState, type ConsoleState, type PeerState, stateAnswer } from './answers.ts';
import { History } from './history.ts';
import type { NodeWatch } from './node-watch.ts';
import type { PeerCounts, StreamWatch } from './stream-watch.ts';

/** Shortest time between two looks, however many pages ask. */
const FRESH_MS = 950;
/** How often it is looked where nobody asks. */
const IDLE_MS = 5_000;
/** How often it is asked which algorithms there are. */
const ALGORITHMS_MS = 60_000;
/** Peers that are drawn, each by itself. */
const MOST_DRAWN = 16;

export interface ConsoleCallsOptions {
  readonly nodeUuid: string;
  /** As they are now. */
  readonly peers: TrustedPeers;
  readonly streams: Pick<StreamWatch, 'now' | 'refusals'>;
  readonly node: Pick<NodeWatch, 'now' | 'look'>;
  readonly links: { readonly balances: readonly LinkBalance[] };
  readonly directory: Pick<StreamDirectory, 'unavailableKems'>;
  readonly clock?: Clock;
}

/** What is counted of a peer. */
interface Counted extends PeerCounts {
  held: number;
  taken: number;
  woven: number;
  burned: number;
}

/** What pages ask for. It is looked at when one asks, once a second at most, and every few seconds where none does. */
export class ConsoleCalls {
  readonly #o: ConsoleCallsOptions;
  readonly #clock: Clock;
  readonly #history = new History();
  readonly #startedAt: number;
  #state = '';
  #before: ReadonlyMap<string, Counted> = new Map();
  #lookedMs = Number.NEGATIVE_INFINITY;
  #unavailable: ReadonlyMap<string, string> | undefined;
  #algorithmsMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;

  constructor(options: ConsoleCallsOptions) {
    this.#o = options;
    this.#clock = options.clock ?? systemClock;
    this.#startedAt = this.#clock.wallMs();
  }

  /** Begins to look. */
  start(): void {
    this.#freshen();
    this.#timer = this.#clock.after(IDLE_MS, () => this.start(), true);
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** The state of the node, and what of its history came after the moment `since`. */
  state({ since }: Query): Buffer {
    this.#freshen();
    const n = Number(since ?? 0);
    return stateAnswer(this.#state, this.#history.since(Number.isSafeInteger(n) ? n : 0));
  }

  #freshen(): void {
    const nowMs = this.#clock.monotonicMs();
    const elapsedMs = nowMs - this.#lookedMs;
    if (elapsedMs < FRESH_MS) return;
    this.#lookedMs = nowMs;
    this.#askAlgorithms(nowMs);
    void this.#o.node.look();
    const { shown, total, peers: counts } = this.#o.streams.now();
    const counted = countedOf(counts, this.#o.links.balances);
    const seconds = elapsedMs / 1000;
    const rate = (node: string, field: 'delivered' | 'made' | 'taken') => {
      const more = (counted.get(node)?.[field] ?? 0) - (this.#before.get(node)?.[field] ?? 0);
      return Number.isFinite(seconds) ? Math.max(0, more) / seconds : 0;
    };
    const { now } = this.#o.node;
    const peers = this.#peers(counted, rate);
    const at = this.#clock.wallMs();
    this.#before = counted;
    this.#history.add(at, momentOf(peers));
    const state: ConsoleState = {
      ...{ startedAt: this.#startedAt, at, node: { uuid: this.#o.nodeUuid, version: VERSION } },
      problems: now.status?.problems ?? null,
      metricsMissing: now.missing ?? null,
      ...{ peers, streams: { total, shown }, refusals: this.#o.streams.refusals },
      algorithms: algorithmsOf(this.#unavailable),
      ...{ sources: now.status?.sources ?? [], services: now.status?.services ?? [] },
      certificates: now.status?.certificates ?? [],
      ...{ mismatches: now.status?.mismatches ?? 0, sourceFaults: now.status?.sourceFaults ?? 0 },
    };
    this.#state = JSON.stringify(state);
  }

  /** Trusted peers, and those that there are streams with. */
  #peers(
    counted: ReadonlyMap<string, Counted>,
    rate: (node: string, field: 'delivered' | 'made' | 'taken') => number,
  ): PeerState[] {
    const { nodeUuid, peers: trusted, node } = this.#o;
    const nodes = new Set([...Object.keys(trusted), ...counted.keys()]);
    nodes.delete(nodeUuid);
    return [...nodes].sort().map((uuid) => {
      const { address } = trusted[uuid] ?? {};
      const known = node.now.status?.peers.find((peer) => peer.node === uuid);
      const { held, taken, woven, burned, made: _, ...counts } = counted.get(uuid) ?? noCounts();
      return {
        ...{ node: uuid, address: address ? `${address.host}:${address.port}` : null },
        ...{ isUp: known?.isUp ?? null, rttSeconds: known?.rttSeconds ?? null },
        ...counts,
        ...{ deliveredPerSecond: rate(uuid, 'delivered'), madePerSecond: rate(uuid, 'made') },
        qkd: { held, taken, woven, burned, takenPerSecond: rate(uuid, 'taken') },
      };
    });
  }

  #askAlgorithms(nowMs: number): void {
    if (this.#unavailable && nowMs - this.#algorithmsMs < ALGORITHMS_MS) return;
    this.#algorithmsMs = nowMs;
    this.#o.directory.unavailableKems().then(
      (unavailable) => {
        this.#unavailable = unavailable;
      },
      // The source of KEMs is away: its absence is told elsewhere.
      () => undefined,
    );
  }
}

function noCounts(): Counted {
  return {
    ...{ streams: 0, joined: 0, ready: 0, coming: 0, waiting: 0, delivered: 0, made: 0 },
    ...{ held: 0, taken: 0, woven: 0, burned: 0 },
  };
}

/** Streams and QKD keys by peer; the two roles of a node on a link count together. */
function countedOf(
  counts: ReadonlyMap<string, Readonly<PeerCounts>>,
  balances: readonly LinkBalance[],
): Map<string, Counted> {
  const all = new Map<string, Counted>();
  for (const [peer, of] of counts) all.set(peer, { ...noCounts(), ...of });
  for (const { peer, held, taken, woven, burned } of balances) {
    const sum = all.get(peer) ?? noCounts();
    all.set(peer, sum);
    sum.held += held;
    sum.taken += taken;
    sum.woven += woven;
    for (const keys of burned.values()) sum.burned += keys;
  }
  return all;
}

function momentOf(peers: readonly PeerState[]): Record<string, number[]> {
  const rounded = (value: number) => Math.round(value * 10) / 10;
  return Object.fromEntries(
    peers
      .slice(0, MOST_DRAWN)
      .map(({ node, deliveredPerSecond, madePerSecond, ready, coming, qkd }) => [
        node,
        [
          ...[rounded(deliveredPerSecond), rounded(madePerSecond), ready, coming],
          ...[rounded(qkd.takenPerSecond), qkd.held],
        ],
      ]),
  );
}

function algorithmsOf(unavailable: ReadonlyMap<string, string> | undefined): AlgorithmState[] {
  return KEM_ALGORITHMS.map(({ name, family, nistLevel }) => ({
    ...{ name, family, nistCategory: nistLevel },
    unavailable: unavailable ? (unavailable.get(name) ?? '') : null,
  }));
}
