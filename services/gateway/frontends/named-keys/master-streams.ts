import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { listenerLayer } from '#common/policy/policy-layers.ts';
import type { Clock } from '#common/time/clock.ts';
import { growingPause } from '#common/time/growing-pause.ts';
import type { KeyKind } from './key-kinds.ts';
import { type Delivery, MasterStream, type Taker } from './master-stream.ts';
import type { Parties } from './parties.ts';
import type { NamedKeysSettings } from './settings.ts';
import { type Group, urisOf } from './stream-names.ts';
import type { TakenKey } from './taken-keys.ts';

/** Streams of one master: for each group of slaves and each size one. The one that was used least lately gives way. */
const MAX_STREAMS_OF_MASTER = 64;

/** Pairs whose streams are opened before anybody asks, and kept open. */
const MAX_WARM_PAIRS = 64;

/** A stream lives as long as one may; those that come to their end are opened anew. */
const LONGEST_TTL_S = 2_147_483;

const FIRST_PAUSE_MS = 250;
const MOST_PAUSE_MS = 15_000;

export interface MasterStreamsOptions {
  readonly delivery: Delivery;
  readonly kind: KeyKind;
  readonly parties: Parties;
  readonly settings: Pick<
    NamedKeysSettings,
    'default_method' | 'default_key_sources' | 'policy' | 'key_size' | 'key_ttl' | 'ready_keys'
  >;
  readonly clock: Clock;
  readonly log: Pick<Log, 'debug'>;
}

/** Keys that a request wants. */
export interface Wanted {
  readonly group: Group;
  /** Bytes of each. */
  readonly bytes: number;
  readonly count: number;
}

interface Entry {
  readonly master: string;
  readonly opening: Promise<MasterStream>;
  /** Once it is open. */
  stream: MasterStream | undefined;
  usedMs: number;
}

/** The streams of this node's parties as masters: opened when they are first wanted, or before, and anew when they are over. */
export class MasterStreams {
  readonly #o: MasterStreamsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #stopped = new AbortController();

  constructor(options: MasterStreamsOptions) {
    this.#o = options;
  }

  /** Opens the streams of the first pairs, and looks after them from then on. */
  keepWarm(): void {
    const { parties, settings } = this.#o;
    const bytes = settings.key_size / 8;
    for (const [master, slave] of parties.pairs().take(MAX_WARM_PAIRS)) {
      this.#keepOpen({ master, slaves: [slave] }, bytes, 0);
    }
  }

  /**
   * Keys of one size for a group, at once where they are ready; all or none.
   *
   * @throws KeyweaveError as KeyDelivery.open and getKey, at once or as the promise.
   */
  take(wanted: Wanted, taker: Taker): TakenKey[] | Promise<TakenKey[]> {
    const stream = this.#ready(wanted.group, wanted.bytes);
    if (!stream) return this.#openAndTake(wanted, taker);
    const taken = stream.take(wanted.count, taker);
    if (!(taken instanceof Promise)) return taken;
    return taken.catch((thrown: unknown) => {
      if (!isOver(thrown)) throw thrown;
      stream.close();
      return this.#openAndTake(wanted, taker);
    });
  }

  /** Returns a key that nobody was given. */
  putBack({ group, bytes }: Pick<Wanted, 'group' | 'bytes'>, taken: TakenKey): void {
    const stream = this.#entries.get(nameOf(group, bytes))?.stream;
    if (stream) stream.putBack(taken);
    else taken.key.wipe();
  }

  /** Keys that lie ready for a group; the stream is opened where it is not. */
  readyKeys(group: Group, bytes: number): number {
    const stream = this.#ready(group, bytes);
    if (stream) return stream.readyKeys;
    this.#openedAtOnce(group, bytes).catch(() => undefined);
    return 0;
  }

  /** Wipes what has lain too long, and forgets what is over. */
  sweep(): void {
    for (const [name, { stream }] of this.#entries) {
      if (!stream) continue;
      stream.wipeOlder(this.#o.settings.key_ttl);
      if (!stream.isOver) continue;
      stream.close();
      this.#entries.delete(name);
    }
  }

  stop(): void {
    this.#stopped.abort();
    for (const { stream } of this.#entries.values()) stream?.close();
    this.#entries.clear();
  }

  /** The stream where it is open and not over. */
  #ready(group: Group, bytes: number): MasterStream | undefined {
    const name = nameOf(group, bytes);
    const entry = this.#entries.get(name);
    if (!entry?.stream) return undefined;
    entry.usedMs = this.#o.clock.monotonicMs();
    if (!entry.stream.isOver) return entry.stream;
    entry.stream.close();
    this.#entries.delete(name);
    return undefined;
  }

  async #openAndTake({ group, bytes, count }: Wanted, taker: Taker): Promise<TakenKey[]> {
    const stream = await this.#opened(group, bytes);
    return stream.take(count, taker);
  }

  #opened(group: Group, bytes: number): Promise<MasterStream> {
    const name = nameOf(group, bytes);
    const known = this.#entries.get(name);
    if (known && !known.stream?.isOver) return known.opening;
    this.#makeRoom(group.master.id);
    const opening = this.#open(group, bytes);
    const usedMs = this.#o.clock.monotonicMs();
    const entry: Entry = { master: group.master.id, opening, stream: undefined, usedMs };
    this.#entries.set(name, entry);
    opening.then(
      (stream) => {
        entry.stream = stream;
        if (this.#stopped.signal.aborted) stream.close();
      },
      () => {
        if (this.#entries.get(name) === entry) this.#entries.delete(name);
      },
    );
    return opening;
  }

  async #open(group: Group, bytes: number): Promise<MasterStream> {
    const { kind, delivery, settings, clock } = this.#o;
    const { default_method: method, default_key_sources: keySources } = settings;
    const isUsual = group.slaves.length === 1 && bytes * 8 === settings.key_size;
    const opened = await delivery.open({
      ...urisOf(kind, group, method, keySources),
      qos: {
        ...{ keyChunkSize: bytes, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 0 },
        ...{ ttlS: LONGEST_TTL_S, metadataMimetype: '' },
      },
      ...{ presence: 'app', owner: kind.owner, signal: this.#stopped.signal },
      byListener: { readyKeys: isUsual ? settings.ready_keys : 0 },
      defaults: { method, keySources },
      policy: listenerLayer(kind.name, settings.policy),
    });
    const stream = new MasterStream(opened.ksid, kind, delivery, clock);
    if (opened.qos.keyChunkSize === bytes) return stream;
    stream.close();
    const detail = `the nodes make keys of ${opened.qos.keyChunkSize * 8} bits at most, not of ${bytes * 8}`;
    throw new KeyweaveError('QOS_NOT_MET', detail);
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED where all of the master's streams are being opened. */
  #makeRoom(master: string): void {
    const own = [...this.#entries].filter(([, entry]) => entry.master === master);
    if (own.length < MAX_STREAMS_OF_MASTER) return;
    const open = own.filter(([, { stream }]) => stream !== undefined);
    const [oldest] = open.sort(([, one], [, other]) => one.usedMs - other.usedMs);
    if (!oldest) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `${MAX_STREAMS_OF_MASTER} streams of this ${this.#o.kind.party} are being opened`,
      );
    }
    oldest[1].stream?.close();
    this.#entries.delete(oldest[0]);
  }

  /** Opens a stream again whenever it is not open; the pause grows while that fails. */
  #keepOpen(group: Group, bytes: number, failures: number): void {
    if (this.#stopped.signal.aborted) return;
    const { clock, log } = this.#o;
    const again = (ms: number, times: number) =>
      clock.after(ms, () => this.#keepOpen(group, bytes, times), true);
    if (this.#ready(group, bytes)) {
      again(MOST_PAUSE_MS, 0);
      return;
    }
    this.#openedAtOnce(group, bytes).then(
      () => again(MOST_PAUSE_MS, 0),
      (cause: unknown) => {
        const pair = { master: group.master.id, slave: group.slaves[0]?.id ?? '' };
        log.debug('the stream of two parties could not be opened', pair, cause);
        again(growingPause(failures, FIRST_PAUSE_MS, MOST_PAUSE_MS), failures + 1);
      },
    );
  }

  /** Where even the beginning fails, the promise does. */
  async #openedAtOnce(group: Group, bytes: number): Promise<MasterStream> {
    return this.#opened(group, bytes);
  }
}

/** The stream has ended, or its other end has. */
function isOver(thrown: unknown): boolean {
  return isReason(thrown, 'UNKNOWN_STREAM', 'PEER_APPLICATION_ABSENT');
}

/** Names in URIs have neither blanks nor commas of their own. */
function nameOf({ master, slaves }: Group, bytes: number): string {
  const [first] = slaves;
  const others = slaves.length === 1 ? first?.name : slaves.map(({ name }) => name).join(',');
  return `${bytes} ${master.name} ${others}`;
}
