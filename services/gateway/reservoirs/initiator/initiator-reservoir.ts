import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import { ownCopy, wipe } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { failpoint } from '#common/service/failpoint.ts';
import type { Timer } from '#common/time/clock.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLink } from '../../clients/peer-link.ts';
import { QkdSequence } from '../../clients/qkd-sequence.ts';
import { Supply } from '../link-rates.ts';
import type { ReservoirAccount } from '../reservoir-account.ts';
import type { ReservoirTools } from '../reservoir-tools.ts';
import { BlockSize } from './block-size.ts';
import { Dryness } from './dryness.ts';
import { FairShares } from './fair-shares.ts';
import { InitiatorEpoch } from './initiator-epoch.ts';
import { InitiatorEpochs } from './initiator-epochs.ts';
import type { QkdGrant, QkdTaker } from './qkd-grant.ts';
import { QkdGrants } from './qkd-grants.ts';
import { ReadAhead } from './read-ahead.ts';
import { ReadPause } from './read-pause.ts';

/** What says nothing of the size of blocks. */
const UNREACHABLE = ['PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN'] as const;

/**
 * The initiator's end of the QKD keys that it shares with one other node: of
 * all its streams there (`qkd.sharing` link), or of one. Keys are read in
 * sequence, a little ahead of demand, and numbered as at the other end; each
 * batch takes the next ones. What no batch has used stays for the next one,
 * what may have been used at the other end is burned. Where the two may have
 * lost step a new epoch begins.
 */
export class InitiatorReservoir {
  readonly id: Buffer;
  readonly account: ReservoirAccount;
  readonly #tools: ReservoirTools;
  readonly #link: Pick<PeerLink, 'produce'>;
  readonly #nodes: { readonly initiatorNode: string; readonly responderNode: string };
  readonly #shares = new FairShares<QkdTaker>();
  readonly #waiting = new Set<QkdTaker>();
  /** What is under way in batches that the other end has not answered. */
  readonly #grants: QkdGrants;
  readonly #ahead = new ReadAhead();
  readonly #pause = new ReadPause();
  readonly #supply = new Supply();
  readonly #dryness: Dryness;
  /** Streams that take their keys here. */
  readonly #members = new Set<QkdTaker>();
  readonly #blocks: BlockSize;
  readonly #epochs: InitiatorEpochs;
  #reading = false;
  #inviting = false;
  /** The epoch was left since it gave nothing, and no key has come since. */
  #isSuspect = false;
  #ended = false;
  #timer: Timer | undefined;

  constructor(options: {
    tools: ReservoirTools;
    link: Pick<PeerLink, 'produce'>;
    id: Buffer;
    account: ReservoirAccount;
    initiatorNode: string;
    responderNode: string;
    firstEpoch?: number;
  }) {
    this.#tools = options.tools;
    this.#link = options.link;
    this.id = ownCopy(options.id);
    this.account = options.account;
    this.#grants = new QkdGrants(options.account);
    const { initiatorNode, responderNode } = options;
    this.#nodes = { initiatorNode, responderNode };
    this.#blocks = new BlockSize(options.tools.maxBlockKeys);
    this.#dryness = new Dryness(options.tools.log, responderNode);
    const make = (number: number, blockKeys: number) => this.#epoch(number, blockKeys);
    this.#epochs = new InitiatorEpochs(make, options.firstEpoch ?? 0, options.account);
  }

  /** Keys that are here for whoever comes next. */
  get held(): number {
    return this.#epochs.held;
  }

  /** When the oldest of them came. */
  get oldestMs(): number | undefined {
    return this.#epochs.oldestMs;
  }

  /** Keys a second that the key manager gives; undefined where it gives enough. */
  get supply(): number | undefined {
    return this.#supply.perSecond(this.#now);
  }

  /** Whether `taker` waits for keys. */
  isAskedBy(taker: QkdTaker): boolean {
    return this.#waiting.has(taker);
  }

  /** Keys a second that are promised to the streams here by their min_bps. */
  get promised(): number {
    return [...this.#members].reduce((sum, { promised }) => sum + promised, 0);
  }

  /** A stream takes its keys here from now on; `leave` must follow. */
  join(taker: QkdTaker): void {
    this.#members.add(taker);
  }

  /** Has `taker` granted keys as soon as there are any for it. */
  ask(taker: QkdTaker): void {
    if (this.#ended) return;
    this.#shares.ask(taker, this.#now);
    this.#waiting.add(taker);
    if (!this.#inviting) this.#serveIfAny();
  }

  /** Opens at both ends what is still to be opened, so that nobody who wants keys waits for it. */
  warm(): void {
    if (this.#ended || this.#inviting || this.#epochs.current.ready) return;
    if (this.#pause.leftMs(this.#now) > 0) return;
    void this.#read(0);
  }

  /** The stream of `taker` is over. */
  leave(taker: QkdTaker): void {
    this.#members.delete(taker);
    this.#waiting.delete(taker);
    this.#shares.forget(taker);
  }

  /** Names the keys of a grant for the other end. */
  reference(grant: QkdGrant): QkdReference {
    const { epoch } = grant;
    const unused = Math.min(epoch.held.first ?? epoch.sequence.read, this.#grants.lowest(epoch));
    return epoch.reference(grant.first, unused, grant.keys.length / QKD_SECRET_BYTES);
  }

  /**
   * The other end has taken the first `count` keys of the grant: they are the
   * caller's, to be wiped; the others are given to the next batch.
   */
  use(grant: QkdGrant, count: number): Buffer {
    const given = grant.keys.subarray(0, count * QKD_SECRET_BYTES);
    const used = ownCopy(given);
    wipe(given);
    this.#ahead.used(count);
    this.account.woven(count);
    this.#return(grant, count);
    return used;
  }

  /** The first `count` keys of a grant, in its place; the others are given to the next batch. */
  trim(grant: QkdGrant, count: number): QkdGrant {
    const bytes = count * QKD_SECRET_BYTES;
    if (bytes >= grant.keys.length) return grant;
    const trimmed = { ...grant, keys: ownCopy(grant.keys.subarray(0, bytes)) };
    wipe(grant.keys.subarray(0, bytes));
    this.#grants.add(trimmed);
    this.#return(grant, count);
    return trimmed;
  }

  /** The other end has taken none of the grant: all of it is given to the next batch. */
  giveBack(grant: QkdGrant): void {
    this.#return(grant, 0);
  }

  /** The other end may have taken the first `count` keys of the grant: nobody uses them. */
  burn(grant: QkdGrant, count: number, why: string): void {
    wipe(grant.keys.subarray(0, count * QKD_SECRET_BYTES));
    this.account.burned(count, why);
    this.#return(grant, count);
  }

  /**
   * A batch with keys of `sequence` has failed since the two ends may have lost
   * step, or the other end cannot read it: the epoch is left, and what is held
   * of it burned.
   */
  lost({ sequence }: QkdGrant, error: KeyweaveError): void {
    const { blockKeys } = sequence.name;
    if (blockKeys > 1 && !isReason(error, 'AGREEMENT_FAILED')) this.#blocks.refuse();
    if (sequence === this.#epochs.older?.sequence) this.#epochs.endOlder(error.reason);
    if (sequence === this.#epochs.current.sequence) {
      this.#pause.failed(this.#now);
      this.#epochs.renew(this.#blocks.wanted(this.#ahead.pace(this.#now), blockKeys), error.reason);
      this.#serve();
    }
  }

  /** A batch has come to something at both ends. */
  succeeded(): void {
    this.#pause.succeeded();
  }

  /** Notes how many keys the other end's key manager is known to give as one; 0 is no news. */
  notePeerBlocks(blockKeys: number): void {
    this.#blocks.notePeer(blockKeys);
  }

  /** Wipes what came before `ms` of the monotonic clock. */
  burnOlder(ms: number): void {
    this.#epochs.burnOlder(ms);
  }

  /** Nobody needs keys any more: wipes them and leaves the key manager; safe to repeat. */
  end(why: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#timer?.cancel();
    this.#epochs.end(why);
    this.#waiting.clear();
  }

  get #now(): number {
    return this.#tools.clock.monotonicMs();
  }

  #epoch(epoch: number, blockKeys: number): InitiatorEpoch {
    const name = { reservoir: this.id, epoch, blockKeys, keyBytes: QKD_SECRET_BYTES, ...this.#nodes };
    return new InitiatorEpoch(new QkdSequence(this.#tools, name), this.#tools, this.#link);
  }

  /** Hands the grant's keys from number `from` of it on to the next batch. */
  #return(grant: QkdGrant, from: number): void {
    this.#grants.settle(grant, from);
    this.#serveIfAny();
  }

  /** What a read that is under way brings is for all that wait by then: a thousand that ask need not be looked at a thousand times. */
  #serveIfAny(): void {
    if (this.held > 0 || !this.#reading) this.#serve();
  }

  /**
   * Grants what there is to those that wait, and reads what is lacking: first,
   * where there may be enough for all of them, so that nobody gets a part of
   * what a moment later it gets whole.
   */
  #serve(hasRead = false): void {
    if (this.#ended) return;
    for (const taker of this.#waiting) if (taker.qkdWanted === 0) this.#waiting.delete(taker);
    if (hasRead || !this.#mayReadEnough) for (const epoch of this.#epochs.all) this.#grantOf(epoch);
    this.#leaveOlder();
    this.#fill();
  }

  /** The older epoch ends with its last key, or with the last that anybody can use. */
  #leaveOlder(): void {
    const { older } = this.#epochs;
    if (!older || this.#grants.isUnderWay(older)) return;
    if (older.held.count === 0 || this.#waiting.size > 0) this.#epochs.endOlder('too few of an epoch');
  }

  #grantOf(epoch: InitiatorEpoch): void {
    const { sequence, held } = epoch;
    if (this.#waiting.size === 0 || held.count === 0) return;
    const nowMs = this.#now;
    const allotted = this.#shares.allot(this.#waiting, held.count, { supply: this.supply, nowMs });
    const grants: [QkdTaker, QkdGrant][] = [];
    for (const [taker, count] of allotted) {
      const stretch = held.stretch(taker.qkdSlots, count);
      if (!stretch) {
        this.#shares.refund(taker, count, nowMs);
        continue;
      }
      const sinceMs = held.oldestMs ?? nowMs;
      const keys = held.take(stretch.first, Math.floor(stretch.count / taker.qkdSlots) * taker.qkdSlots);
      const grant = { epoch, sequence, first: stretch.first, keys, sinceMs };
      this.#grants.add(grant);
      this.#waiting.delete(taker);
      this.#ahead.granted(keys.length / QKD_SECRET_BYTES, nowMs);
      grants.push([taker, grant]);
    }
    for (const [taker, grant] of grants) taker.granted(grant);
  }

  /** Keys that are wanted now. */
  get #wanted(): number {
    return [...this.#waiting].reduce((sum, { qkdWanted }) => sum + qkdWanted, 0);
  }

  /** Whether a read that is under way, or about to be, may bring what those that wait lack. */
  get #mayReadEnough(): boolean {
    if (this.supply !== undefined || this.#pause.leftMs(this.#now) > 0) return false;
    return this.#wanted > this.held && this.held < this.#tools.maxKeys;
  }

  /** Keys to read now. */
  get #lacking(): number {
    const wanted = this.#wanted;
    const { held, sequence } = this.#epochs.current;
    const room = this.#tools.maxKeys - this.held;
    // Those that still wait can use what follows on the last keys alone: the others would have served them.
    const usable = wanted > 0 ? held.before(sequence.read) : held.count;
    return Math.min(room, wanted + this.#ahead.keys(this.#now) - usable);
  }

  #fill(): void {
    if (this.#reading || this.#ended || this.#lacking <= 0) return;
    const pauseMs = this.#pause.leftMs(this.#now);
    if (pauseMs > 0) {
      this.#timer?.cancel();
      this.#timer = this.#tools.clock.after(pauseMs, () => this.#serve());
      if (this.#pause.failure) this.#tell(this.#pause.failure, ({ replaceable }) => replaceable);
      return;
    }
    this.#invite();
    void this.#read(1);
  }

  /** Those that would ask a moment later share the read, and the round that follows. */
  #invite(): void {
    if (this.supply !== undefined) return;
    this.#inviting = true;
    for (const member of this.#members) member.invite();
    this.#inviting = false;
  }

  /** Reads `least` keys or what is lacking, opening the epoch before where that is still to be done; never rejects. */
  async #read(least: number): Promise<void> {
    // Two reads at a time would both begin at the same key.
    if (this.#reading) return;
    const epoch = this.#epochs.current;
    const { sequence, held } = epoch;
    const asking = new Set(this.#waiting);
    this.#reading = true;
    try {
      if (!epoch.ready) this.#blocks.notePeer(await epoch.prepare());
      const asked = Math.max(least, this.#lacking);
      if (asked === 0) return;
      await failpoint('initiator.fetch');
      const { keys, ranDry, givenBlockKeys } = await sequence.next(asked);
      const count = keys.length / QKD_SECRET_BYTES;
      held.add(sequence.read - count, keys, this.#now);
      this.account.taken(count);
      this.#blocks.noteHere(givenBlockKeys);
      this.#supply.note(count, ranDry, this.#now);
      this.succeeded();
      this.#noteDry(count, ranDry);
      this.#adjustBlocks();
    } catch (thrown) {
      if (epoch === this.#epochs.current && !this.#ended)
        this.#failed(epoch, KeyweaveError.from(thrown), asking);
    } finally {
      this.#reading = false;
      this.#serve(true);
    }
  }

  #noteDry(count: number, ranDry: boolean): void {
    const nowMs = this.#now;
    const source = { rate: this.supply, waiting: this.#waiting.size };
    const dry = this.#dryness.note(count, ranDry, source, nowMs);
    if (count > 0) this.#isSuspect = false;
    if (!dry) return;
    // A key manager gives nothing more of a stream whose other end has closed it, as one that was started anew has.
    const isSuspect = count === 0 && (dry.tells || (this.supply === undefined && !this.#isSuspect));
    this.#isSuspect ||= isSuspect;
    // A slow key manager has single keys long before it has a block of them.
    const inBlocks = this.#epochs.current.sequence.name.blockKeys > 1;
    if (inBlocks) this.#blocks.ranDry();
    if (inBlocks || isSuspect) this.#epochs.follow(1);
    this.#pause.wait(nowMs, isSuspect ? 0 : dry.pauseMs);
    const why = new KeyweaveError('INSUFFICIENT_KEY', dry.words);
    for (const taker of this.#waiting) taker.qkdScarce(why);
    if (dry.tells) this.#tell(why);
  }

  /** @param asking those that waited when the read began. */
  #failed(epoch: InitiatorEpoch, error: KeyweaveError, asking: ReadonlySet<QkdTaker>): void {
    const { blockKeys } = epoch.sequence.name;
    if (blockKeys > 1 && !isReason(error, ...UNREACHABLE)) this.#blocks.refuse();
    // An epoch that was opened is not opened again; what was read of it is still in step.
    if (epoch.sequence.isOpen || blockKeys > 1) {
      this.#epochs.follow(this.#blocks.wanted(this.#ahead.pace(this.#now), 1));
    }
    // A node that was started anew knows none of the streams that were open before; others may be by now.
    const isForgotten = isReason(error, 'UNKNOWN_STREAM');
    this.#pause.failed(this.#now, isForgotten || isReason(error, ...UNREACHABLE) ? undefined : error);
    // Single keys are tried at once.
    if (blockKeys > 1 && this.#pause.failures === 1 && !isForgotten) this.#pause.wait(this.#now, 0);
    else this.#tell(error, (taker) => !isForgotten || asking.has(taker));
  }

  /** Tells those who wait; they ask again. */
  #tell(error: KeyweaveError, whom: (taker: QkdTaker) => boolean = () => true): void {
    const told = [...this.#waiting].filter(whom);
    for (const taker of told) this.#waiting.delete(taker);
    for (const taker of told) taker.qkdFailed(error);
  }

  /** Reads larger blocks where keys go fast, and single keys where they go slowly. */
  #adjustBlocks(): void {
    const { blockKeys } = this.#epochs.current.sequence.name;
    const wanted = this.#blocks.wanted(this.#ahead.pace(this.#now), blockKeys);
    if (wanted !== blockKeys && this.#epochs.older === undefined) this.#epochs.follow(wanted);
  }
}
