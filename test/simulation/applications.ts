import { hash } from 'node:crypto';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { STATUS_TABLE } from '#common/errors/status-table.ts';
import type { SourcePolicy } from '#common/policy/policy-section.ts';
import type { HistoryEntry } from '../helpers/delivery-history.ts';
import { MAY_LACK } from './may-lack.ts';
import type { Prng } from './prng.ts';
import type { SimulatedNode } from './simulated-node.ts';
import type { SimulatedTime } from './simulated-time.ts';

/** Bytes of every key. */
export const KEY_BYTES = 32;

/** What two applications that talk to each other have in common. */
export interface PairPlan {
  readonly name: string;
  readonly source: string;
  readonly destination: string;
  readonly method: string;
  readonly keySources: string;
  /** Both name the KSID, the same each time they open. */
  readonly ksid: string | undefined;
  readonly timeoutMs: number;
  /** Mean time between two keys, milliseconds, and keys of one stream. */
  readonly paceMs: number;
  readonly keys: number;
  /** How often an application goes away in the middle of a request, asks for an index of its own, or forgets to close. */
  readonly vanishes: number;
  readonly picksIndex: number;
  readonly forgets: number;
}

/** An answer may take so much longer than its timeout: what is under way when the time has run out. */
const MARGIN_MS = 250;

const OWNER = { identity: undefined, address: 'simulated' };

/** What an application has seen, and what was wrong about it beyond what a history shows. */
export interface Witness {
  readonly history: HistoryEntry[];
  /** Streams of which an application has named indexes. */
  readonly named: Set<string>;
  readonly complaints: string[];
  /** Whether the nodes let a shared_seed stand in. */
  readonly mayDegrade: boolean;
  /** What each chunk was said to be made of, by stream and index: the same at both ends. */
  readonly made: Map<string, string>;
  /** Keys that lack sources of a kind. */
  lacking: number;
  /** `policy.sources` of a node. */
  policyOf(node: string): SourcePolicy;
  note(line: string): void;
}

interface Asked<T> {
  readonly sentMs: number;
  readonly outcome: T | KeyweaveError | 'gone';
}

/** One application: opens, reads, closes and begins anew, whatever happens, until it is told to stop. */
export class Application {
  readonly name: string;
  readonly #plan: PairPlan;
  readonly #end: 0 | 1;
  readonly #node: SimulatedNode;
  readonly #time: SimulatedTime;
  readonly #random: Prng;
  readonly #witness: Witness;
  #stopping = false;
  /** When a signal has fired. */
  readonly #abortedMs = new WeakMap<AbortSignal, number>();
  /** When it last got a key. */
  lastKeyMs = Number.NEGATIVE_INFINITY;

  constructor(options: {
    plan: PairPlan;
    end: 0 | 1;
    node: SimulatedNode;
    time: SimulatedTime;
    random: Prng;
    witness: Witness;
  }) {
    this.#plan = options.plan;
    this.#end = options.end;
    this.#node = options.node;
    this.#time = options.time;
    this.#random = options.random;
    this.#witness = options.witness;
    this.name = `${options.plan.name}/${options.end}`;
  }

  stop(): void {
    this.#stopping = true;
  }

  /** Resolves when it has closed its last stream. */
  async run(): Promise<void> {
    await this.#time.sleep(this.#random.between(0, 500));
    while (!this.#stopping) {
      const ksid = await this.#open();
      if (ksid === undefined) {
        await this.#time.sleep(this.#random.between(50, 500));
        continue;
      }
      await this.#read(ksid);
      if (this.#stopping || !this.#random.chance(this.#plan.forgets)) this.#close(ksid);
      await this.#time.sleep(this.#random.between(10, 300));
    }
  }

  async #open(): Promise<string | undefined> {
    const { source, destination, method, keySources, ksid, timeoutMs, vanishes } = this.#plan;
    const query = `hybridization=${method}&key_sources=${keySources}`;
    const gone = this.#leavesWithin(vanishes, timeoutMs);
    const { sentMs, outcome } = await this.#ask(timeoutMs, gone, (delivery) =>
      delivery.open({
        source: `hybrid://${this.#plan.name}@${source}?${query}`,
        destination: `hybrid://${this.#plan.name}@${destination}?${query}`,
        qos: {
          ...{ keyChunkSize: KEY_BYTES, maxBps: 0, minBps: 0, jitter: 0, priority: 0, ttlS: 0 },
          ...{ timeoutMs, metadataMimetype: 'application/json' },
        },
        ...{ ksid, presence: 'app', defaults: { method, keySources: [] }, owner: OWNER, signal: gone },
      }),
    );
    this.#record(
      'OPEN_CONNECT',
      '',
      sentMs,
      outcome === 'gone' || outcome instanceof KeyweaveError ? outcome : {},
    );
    if (outcome === 'gone' || outcome instanceof KeyweaveError) return undefined;
    if (gone.aborted) {
      // It was opened for nobody: the connection has gone with its application, the stream stays until TTL or CLOSE.
      this.#close(outcome.ksid);
      return undefined;
    }
    return outcome.ksid;
  }

  async #read(ksid: string): Promise<void> {
    const { keys, paceMs, timeoutMs, vanishes, picksIndex } = this.#plan;
    const stream = `${ksid}/${this.#node.incarnationOf(ksid)}`;
    if (picksIndex > 0) this.#witness.named.add(stream);
    let next = 0;
    let failures = 0;
    for (let read = 0; read < keys && !this.#stopping; ) {
      await this.#time.sleep(this.#random.exponential(paceMs));
      const gone = this.#leavesWithin(vanishes, timeoutMs);
      const index = this.#random.chance(picksIndex) ? next + this.#random.between(0, 3) : undefined;
      const { sentMs, outcome } = await this.#ask(timeoutMs, gone, async (delivery) =>
        delivery.getKey({ ksid, index, owner: OWNER, signal: gone }),
      );
      if (outcome === 'gone' || outcome instanceof KeyweaveError) {
        this.#record('GET_KEY', stream, sentMs, outcome);
        failures += 1;
        if (outcome === 'gone' || failures > 5 || isOver(outcome)) return;
        continue;
      }
      const key = outcome.key.expose();
      const digest = hash('sha256', key, 'hex');
      const keyBytes = key.length;
      this.#judgeSources(`${stream}/${outcome.index}`, outcome.metadata);
      outcome.key.wipe();
      next = Math.max(next, outcome.index + 1);
      read += 1;
      failures = 0;
      this.lastKeyMs = this.#time.nowMs;
      this.#record('GET_KEY', stream, sentMs, { index: outcome.index, digest, keyBytes });
    }
  }

  /** No chunk lacks more than both nodes let be, or than enough for its method, and both ends say the same of it. */
  #judgeSources(chunk: string, metadata: string): void {
    const { complaints, made, mayDegrade } = this.#witness;
    const { sources, degraded } = JSON.parse(metadata) as { sources: string[]; degraded: boolean };
    const named = this.#plan.keySources.split(',');
    const { source, destination, method } = this.#plan;
    const [one, other] = [source, destination].map((node) => MAY_LACK[this.#witness.policyOf(node)]);
    const without = {
      qkd: named.filter((name) => name !== 'QKD'),
      pqc: named.filter((name) => name === 'QKD'),
    };
    const lacks = (['qkd', 'pqc'] as const).find((kind) => `${without[kind]}` === `${sources}`);
    const isWhole = `${sources}` === `${named}`;
    const isReplaced = `${sources}` === `${named.map((name) => (name === 'QKD' ? 'SHARED-SEED' : name))}`;
    const mayBe =
      isWhole ||
      (isReplaced && mayDegrade && named.length === 2) ||
      (lacks !== undefined &&
        [one, other].every((may) => may?.includes(lacks)) &&
        sources.length >= (method === 'xoring' ? 2 : 1));
    if (!mayBe || degraded === isWhole)
      complaints.push(`${this.name}: a key of ${sources} where ${named} are named, degraded: ${degraded}`);
    if (!isWhole && lacks !== undefined) this.#witness.lacking += 1;
    const before = made.get(chunk) ?? `${sources}`;
    if (before !== `${sources}`)
      complaints.push(`${this.name}: index of ${chunk} is of ${sources} here and of ${before} there`);
    made.set(chunk, before);
  }

  #close(ksid: string): void {
    try {
      this.#node.delivery?.close({ ksid, owner: OWNER });
    } catch {
      // It has ended by itself.
    }
  }

  /** A signal that may fire while the request is under way. */
  #leavesWithin(probability: number, timeoutMs: number): AbortSignal {
    const gone = new AbortController();
    if (this.#random.chance(probability)) {
      this.#time.at(this.#time.nowMs + this.#random.between(0, timeoutMs / 4), () => {
        this.#abortedMs.set(gone.signal, this.#time.nowMs);
        gone.abort();
      });
    }
    return gone.signal;
  }

  /** One request; one that is not answered in its time is a complaint, unless the gateway died over it. */
  async #ask<T>(
    timeoutMs: number,
    gone: AbortSignal,
    call: (delivery: NonNullable<SimulatedNode['delivery']>) => Promise<T>,
  ): Promise<Asked<T>> {
    const sentMs = this.#time.nowMs;
    const { delivery, life } = this.#node;
    if (!delivery) return { sentMs, outcome: 'gone' };
    const over = Promise.withResolvers<'gone'>();
    const timer = this.#time.at(sentMs + timeoutMs + MARGIN_MS, () => over.resolve('gone'));
    const answer = call(delivery).catch((thrown: unknown) => KeyweaveError.from(thrown));
    const outcome = await Promise.race([answer, over.promise]);
    timer.cancel();
    const abortedMs = this.#abortedMs.get(gone) ?? Number.POSITIVE_INFINITY;
    if (isKey(outcome) && abortedMs > sentMs && abortedMs < this.#time.nowMs) {
      this.#witness.complaints.push(`${this.name}: a key was taken after its application had gone`);
    }
    if (outcome === 'gone' && this.#node.life === life && this.#node.delivery && !gone.aborted) {
      this.#witness.complaints.push(`${this.name}: no answer within ${timeoutMs} ms, asked at ${sentMs}`);
    }
    return { sentMs, outcome };
  }

  #record(
    op: HistoryEntry['op'],
    ksid: string,
    sentMs: number,
    result: KeyweaveError | 'gone' | Pick<HistoryEntry, 'index' | 'digest' | 'keyBytes'>,
  ): void {
    const answeredMs = this.#time.nowMs;
    const common = { op, application: this.name, ksid, end: this.#end, sentMs, answeredMs };
    if (result === 'gone') this.#witness.history.push({ ...common, status: undefined, message: '' });
    else if (result instanceof KeyweaveError) {
      const status = STATUS_TABLE[result.reason].etsi004;
      this.#witness.history.push({ ...common, status, message: result.detail });
      if (result.reason === 'INTERNAL') {
        this.#witness.complaints.push(`${this.name}: an internal error, ${(result.cause as Error)?.stack}`);
      }
    } else this.#witness.history.push({ ...common, status: 0, message: '', ...result });
    const what =
      result === 'gone'
        ? 'gone'
        : result instanceof KeyweaveError
          ? result.reason
          : (result.digest ?? 'open');
    this.#witness.note(`${answeredMs} ${this.name} ${op} ${what}`);
  }
}

function isKey(outcome: unknown): boolean {
  return typeof outcome === 'object' && outcome !== null && 'key' in outcome;
}

function isOver({ reason }: KeyweaveError): boolean {
  return reason === 'UNKNOWN_STREAM' || reason === 'PEER_APPLICATION_ABSENT';
}
