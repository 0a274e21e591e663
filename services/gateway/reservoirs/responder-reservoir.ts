import { MAX_KEY_NAME_BYTES, QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import { ownCopy } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Timer } from '#common/time/clock.ts';
import { growingPause } from '#common/time/growing-pause.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { QkdSequence } from '../clients/qkd-sequence.ts';
import { KeyRuns } from './key-runs.ts';
import type { ReservoirAccount } from './reservoir-account.ts';
import type { ReservoirTools } from './reservoir-tools.ts';

/** How long a batch waits for its keys: those of the whole round wait with it. */
const WAIT_MS = 1_000;

/** Pause after the key manager has run dry, and longest pause. */
const DRY_PAUSE_MS = 25;
const MAX_DRY_PAUSE_MS = 250;

/** How long an epoch is kept for late batches once the initiator has begun another. */
const LATE_MS = 5_000;

/** Most QKD keys in one block: 2 KiB of key at a time. */
const MAX_BLOCK_KEYS = 64;

/** Longest id of a key manager's stream that is taken from the other end, characters; UUIDs have 36. */
const MAX_HANDLE_CHARS = 256;

interface Wait {
  /** Number behind its last key. */
  readonly until: number;
  readonly come: PromiseWithResolvers<void>;
}

interface Epoch {
  readonly sequence: QkdSequence;
  readonly held: KeyRuns;
  /** Numbers of keys that were fetched by their names, as far as they may be named again. */
  readonly named: Set<number>;
  readonly waits: Set<Wait>;
  /** As far as the initiator's end has read. */
  hinted: number;
  reading: boolean;
  dryReads: number;
  pause: Timer | undefined;
  /** Why the last read failed. */
  failure: KeyweaveError | undefined;
  late: Timer | undefined;
}

/**
 * The responder's end of a reservoir: reads the epochs that the initiator
 * names, as far as its end has read or batches need, and gives each batch the
 * keys of its numbers, each key once.
 */
export class ResponderReservoir {
  readonly id: Buffer;
  readonly account: ReservoirAccount;
  readonly #tools: ReservoirTools;
  readonly #initiatorNode: string;
  readonly #responderNode: string;
  /** The newest two at most. */
  readonly #epochs = new Map<number, Epoch>();
  #newest = -1;
  #givenBlockKeys = 0;
  #usedMs: number;
  #ended = false;

  constructor(options: {
    tools: ReservoirTools;
    id: Uint8Array;
    account: ReservoirAccount;
    initiatorNode: string;
    responderNode: string;
  }) {
    this.#tools = options.tools;
    this.id = ownCopy(options.id);
    this.account = options.account;
    this.#initiatorNode = options.initiatorNode;
    this.#responderNode = options.responderNode;
    this.#usedMs = options.tools.clock.monotonicMs();
  }

  /** Most QKD keys in one block that this end's key manager is known to give; 0: it is not known to give blocks. */
  get givenBlockKeys(): number {
    return this.#givenBlockKeys;
  }

  /** When its initiator last named it, monotonic milliseconds. */
  get usedMs(): number {
    return this.#usedMs;
  }

  /** Keys that are here and were not used yet. */
  get held(): number {
    let held = 0;
    for (const epoch of this.#epochs.values()) held += epoch.held.count;
    return held;
  }

  /** When the oldest of them came, monotonic milliseconds; undefined where there is none. */
  get oldestMs(): number | undefined {
    const times = [...this.#epochs.values()].flatMap(({ held }) => held.oldestMs ?? []);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Opens the epoch that the initiator names. @throws KeyweaveError why it cannot be read. */
  async prepare(reference: QkdReference): Promise<void> {
    const { sequence } = this.#follow(reference);
    await sequence.open(reference.qkdKeyStreamId);
  }

  /**
   * The keys of a batch from its position on: `count`, or fewer in whole chunks
   * where the key manager runs low; the caller owns and wipes them. Keys that
   * are not given stay.
   *
   * @param slots keys of one chunk.
   * @throws KeyweaveError QKD_OUT_OF_STEP where they are gone, INSUFFICIENT_KEY, QKD_UNAVAILABLE.
   */
  async take(reference: QkdReference, count: number, slots: number): Promise<Buffer> {
    const epoch = this.#follow(reference);
    const { sequence, held } = epoch;
    const position = Number(reference.position);
    const burned = Math.min(Number(reference.burned), position);
    this.account.burned(held.burnBelow(burned), 'burned at the other end');
    if (reference.keyNames.length > 0) return this.#takeNamed(epoch, reference, count);
    const unread = position + count - sequence.read;
    if (unread > this.#tools.maxKeys || unread + held.count > 2 * this.#tools.maxKeys) {
      throw new KeyweaveError(
        'QKD_OUT_OF_STEP',
        `the other end names QKD key ${position}, this one has read ${sequence.read}`,
      );
    }
    epoch.hinted = Math.max(
      epoch.hinted,
      Math.min(Number(reference.read), sequence.read + this.#tools.maxKeys),
    );
    await this.#come(epoch, reference.qkdKeyStreamId, position + count);
    if (sequence.ended) throw outOfStep(`QKD epoch ${reference.epoch} has been left`);
    const there = Math.floor(held.from(position, count) / slots) * slots;
    if (there > 0) {
      const keys = held.take(position, there);
      this.account.woven(there);
      return keys;
    }
    if (position < sequence.read && held.from(position, slots) === 0) {
      throw outOfStep(`QKD key ${position} has been used or burned at the other end`);
    }
    throw epoch.failure ?? dry();
  }

  /**
   * The keys of a batch that its initiator has named, all of them: they are
   * fetched now, whatever was fetched before.
   */
  async #takeNamed({ sequence, named }: Epoch, reference: QkdReference, count: number): Promise<Buffer> {
    const position = Number(reference.position);
    const names = reference.keyNames.slice(0, count);
    assertNames(names, count);
    for (const number of named) if (number < Number(reference.burned)) named.delete(number);
    const numbers = Array.from({ length: count }, (_, i) => position + i);
    if (numbers.some((number) => named.has(number))) {
      throw outOfStep(`QKD key ${position}, or one behind it, has been used`);
    }
    if (named.size + count > 2 * this.#tools.maxKeys) {
      throw new KeyweaveError('LIMIT_EXCEEDED', 'the other end burns none of the QKD keys that it has named');
    }
    for (const number of numbers) named.add(number);
    const fetching = sequence.open(reference.qkdKeyStreamId).then(() => sequence.named(position, names));
    try {
      const keys = await waitFor(fetching, WAIT_MS, undefined, this.#tools.clock);
      if (keys === undefined) throw silent();
      this.account.taken(count);
      this.account.woven(count);
      return keys;
    } catch (thrown) {
      fetching.then(
        (late) => {
          late.fill(0);
          this.account.taken(count);
          this.account.burned(count, 'came too late');
        },
        () => undefined,
      );
      throw thrown;
    }
  }

  /** Wipes what came before `ms` of the monotonic clock. */
  burnOlder(ms: number): void {
    for (const { held } of this.#epochs.values()) this.account.burned(held.burnOlder(ms), 'too old');
  }

  /** Nobody needs keys any more: wipes them and leaves the key manager; safe to repeat. */
  end(why: string): void {
    this.#ended = true;
    for (const number of [...this.#epochs.keys()]) this.#leave(number, why);
  }

  /** The epoch of a reference, which is begun where it is a new one. @throws KeyweaveError for one that cannot be read. */
  #follow(reference: QkdReference): Epoch {
    const { epoch: number, blockKeys, qkdKeyStreamId } = reference;
    this.#usedMs = this.#tools.clock.monotonicMs();
    const known = this.#epochs.get(number);
    if (known) {
      if (known.sequence.name.blockKeys === blockKeys) return known;
      throw outOfStep(`the other end reads blocks of ${blockKeys} QKD keys`);
    }
    if (this.#ended || number <= this.#newest) throw outOfStep(`QKD epoch ${number} has been left`);
    if (blockKeys < 1 || blockKeys > MAX_BLOCK_KEYS) {
      throw new KeyweaveError('BAD_REQUEST', `block_keys must be 1 to ${MAX_BLOCK_KEYS}, not ${blockKeys}`);
    }
    if (blockKeys > Math.max(1, this.#givenBlockKeys)) {
      throw new KeyweaveError('QKD_UNAVAILABLE', `this end does not read blocks of ${blockKeys} QKD keys`);
    }
    if (qkdKeyStreamId.length > MAX_HANDLE_CHARS) {
      throw new KeyweaveError(
        'BAD_REQUEST',
        `qkd_key_stream_id must not exceed ${MAX_HANDLE_CHARS} characters`,
      );
    }
    // What an earlier life of this gateway has read of it nobody can read again.
    if (reference.burned > 0n) throw outOfStep(`QKD epoch ${number} was begun without this end`);
    return this.#begin(number, blockKeys);
  }

  #begin(number: number, blockKeys: number): Epoch {
    for (const other of [...this.#epochs.keys()]) {
      if (other !== this.#newest) this.#leave(other, 'its epoch was left');
    }
    const older = this.#epochs.get(this.#newest);
    if (older) {
      const left = this.#newest;
      older.late = this.#tools.clock.after(LATE_MS, () => this.#leave(left, 'its epoch was left'), true);
    }
    this.#newest = number;
    const sequence = new QkdSequence(this.#tools, {
      ...{ reservoir: this.id, epoch: number, blockKeys, keyBytes: QKD_SECRET_BYTES },
      ...{ initiatorNode: this.#initiatorNode, responderNode: this.#responderNode },
    });
    const epoch: Epoch = {
      ...{ sequence, held: new KeyRuns(), named: new Set<number>(), waits: new Set<Wait>() },
      ...{ hinted: 0, reading: false, dryReads: 0 },
      ...{ pause: undefined, failure: undefined, late: undefined },
    };
    this.#epochs.set(number, epoch);
    return epoch;
  }

  #leave(number: number, why: string): void {
    const epoch = this.#epochs.get(number);
    if (!epoch) return;
    this.#epochs.delete(number);
    epoch.pause?.cancel();
    epoch.late?.cancel();
    this.account.burned(epoch.held.wipe(), why);
    epoch.sequence.end();
    for (const { come } of epoch.waits) come.resolve();
  }

  /** Resolves when the keys below number `until` have been read, or cannot be in time. */
  async #come(epoch: Epoch, shared: string, until: number): Promise<void> {
    const { sequence } = epoch;
    if (until > sequence.read) {
      const come = Promise.withResolvers<void>();
      const wait = { until, come };
      epoch.waits.add(wait);
      epoch.failure = undefined;
      this.#read(epoch, shared);
      const came = await waitFor(
        come.promise.then(() => true),
        WAIT_MS,
        undefined,
        this.#tools.clock,
      );
      if (!came) epoch.failure ??= epoch.dryReads > 0 ? dry() : silent();
      epoch.waits.delete(wait);
    } else this.#read(epoch, shared);
  }

  /** Reads on, one call at a time, for as long as anything is lacking. */
  #read(epoch: Epoch, shared: string): void {
    if (epoch.reading || epoch.pause || epoch.sequence.ended) return;
    const target = Math.max(epoch.hinted, ...[...epoch.waits].map(({ until }) => until));
    const room = this.#tools.maxKeys - this.held;
    const lacking = Math.min(
      target - epoch.sequence.read,
      epoch.waits.size > 0 ? Number.POSITIVE_INFINITY : room,
    );
    if (lacking <= 0) return;
    epoch.reading = true;
    void this.#readOnce(epoch, shared, lacking).finally(() => {
      epoch.reading = false;
      this.#read(epoch, shared);
    });
  }

  async #readOnce(epoch: Epoch, shared: string, lacking: number): Promise<void> {
    const { sequence, held, waits } = epoch;
    const { clock } = this.#tools;
    try {
      await sequence.open(shared);
      const { keys, ranDry, givenBlockKeys } = await sequence.next(lacking);
      if (givenBlockKeys > 0) this.#givenBlockKeys = Math.min(MAX_BLOCK_KEYS, givenBlockKeys);
      const count = keys.length / QKD_SECRET_BYTES;
      held.add(sequence.read - count, keys, clock.monotonicMs());
      this.account.taken(count);
      epoch.failure = undefined;
      for (const wait of waits) if (wait.until <= sequence.read) wait.come.resolve();
      if (!ranDry) epoch.dryReads = 0;
      else this.#pauseDry(epoch, shared);
    } catch (thrown) {
      epoch.failure = KeyweaveError.from(thrown);
      // What was read before is sound; what follows may not be.
      if (sequence.isOpen && !isReason(thrown, 'QKD_UNAVAILABLE'))
        this.#leave(sequence.name.epoch, 'QKD_OUT_OF_STEP');
      epoch.hinted = 0;
      for (const wait of waits) wait.come.resolve();
      waits.clear();
    }
  }

  #pauseDry(epoch: Epoch, shared: string): void {
    const pauseMs = growingPause(epoch.dryReads++, DRY_PAUSE_MS, MAX_DRY_PAUSE_MS);
    // Who only reads ahead can wait for the next batch to ask.
    epoch.hinted = Math.min(epoch.hinted, epoch.sequence.read);
    epoch.pause = this.#tools.clock.after(
      pauseMs,
      () => {
        epoch.pause = undefined;
        this.#read(epoch, shared);
      },
      true,
    );
  }
}

/** @throws KeyweaveError BAD_REQUEST unless there is a name for each of `count` keys. */
function assertNames(names: readonly Uint8Array[], count: number): void {
  if (names.length < count) {
    throw new KeyweaveError('BAD_REQUEST', `qkd.key_names must be ${count}, not ${names.length}`);
  }
  if (names.some(({ length }) => length < 1 || length > MAX_KEY_NAME_BYTES)) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `each of qkd.key_names must have 1 to ${MAX_KEY_NAME_BYTES} bytes`,
    );
  }
}

function outOfStep(detail: string): KeyweaveError {
  return new KeyweaveError('QKD_OUT_OF_STEP', detail);
}

function dry(): KeyweaveError {
  return new KeyweaveError('INSUFFICIENT_KEY', 'the key manager of the other node has run dry');
}

function silent(): KeyweaveError {
  return new KeyweaveError('QKD_UNAVAILABLE', 'the key manager of the other node did not answer in time');
}
