import assert from 'node:assert/strict';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { ProduceRequest, QkdReadiness, QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { InitiatorReservoir } from '../../services/gateway/reservoirs/initiator/initiator-reservoir.ts';
import type { QkdGrant, QkdTaker } from '../../services/gateway/reservoirs/initiator/qkd-grant.ts';
import { ReservoirAccount } from '../../services/gateway/reservoirs/reservoir-account.ts';
import type { ReservoirTools } from '../../services/gateway/reservoirs/reservoir-tools.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeKeyManager, KEY_BYTES, numbersOf } from './fake-key-manager.ts';
import { ALICE, BOB } from './streams.ts';

/** Who asks for keys, and what became of it. */
export class TestTaker implements QkdTaker {
  readonly grants: QkdGrant[] = [];
  readonly errors: KeyweaveError[] = [];
  /** How often it was told that there are few. */
  scarce = 0;
  qkdWanted = 0;
  /** Something stands in for keys that cannot be had. */
  replaceable = false;
  /** Keys a second that its min_bps promises. */
  promised = 0;
  readonly qkdSlots: number;
  readonly weight: number;
  urgent: boolean;
  readonly #bench: ReservoirBench;

  constructor(bench: ReservoirBench, { slots = 1, weight = 1, urgent = true } = {}) {
    this.#bench = bench;
    this.qkdSlots = slots;
    this.weight = weight;
    this.urgent = urgent;
  }

  /** What it does when others get keys. */
  invite: () => void = () => undefined;

  granted(grant: QkdGrant): void {
    this.grants.push(grant);
    this.#bench.out.add(grant);
    this.qkdWanted = 0;
  }

  qkdFailed(error: KeyweaveError): void {
    this.errors.push(error);
  }

  qkdScarce(): void {
    this.scarce += 1;
  }

  /** The grant that came last. */
  get last(): QkdGrant {
    return this.grants.at(-1) as QkdGrant;
  }

  /** Numbers of the keys of its grants, in the order of their coming. */
  get numbers(): number[][] {
    return this.grants.map(({ keys }) => numbersOf(keys));
  }

  /** Asks for so many keys, and lets come what comes. */
  async ask(keys: number): Promise<void> {
    this.qkdWanted = keys;
    this.#bench.reservoir.ask(this);
    await this.#bench.clock.settle();
  }
}

/** An initiator's reservoir whose key manager and other end do what a test says. */
export class ReservoirBench {
  readonly clock = new FakeClock();
  readonly keys = new FakeKeyManager();
  readonly account = new ReservoirAccount();
  readonly reservoir: InitiatorReservoir;
  /** Epochs that the other end was told to open. */
  readonly announced: QkdReference[] = [];
  /** Grants that were not settled. */
  readonly out = new Set<QkdGrant>();
  /** Part of a key that has come since the last whole one. */
  #flown = 0;
  /** Set it to have the other end answer when and what the test says. */
  onAnnounce: (reference: QkdReference) => Promise<QkdReadiness | undefined> = async () => ({
    failure: undefined,
    blockKeys: 0,
  });

  constructor({
    join = 'uris',
    maxBlockKeys = 1,
    maxKeys = 2_048,
  }: Partial<Pick<ReservoirTools, 'join' | 'maxBlockKeys' | 'maxKeys'>> = {}) {
    const { clock, keys: qkd, account } = this;
    const produce = async ({ offers, confirmations, qkd: reference }: ProduceRequest) => {
      assert.deepEqual([offers, confirmations], [[], []]);
      assert.ok(reference);
      this.announced.push(reference);
      return { answers: [], decisions: [], qkd: await this.onAnnounce(reference) };
    };
    this.reservoir = new InitiatorReservoir({
      tools: { qkd, clock, log: silentLog, join, maxBlockKeys, maxKeys },
      ...{ link: { produce }, id: Buffer.alloc(16, 7), account },
      ...{ initiatorNode: ALICE, responderNode: BOB },
    });
  }

  taker(options: { slots?: number; weight?: number; urgent?: boolean } = {}): TestTaker {
    return new TestTaker(this, options);
  }

  /** The other end has made `count` keys' worth of chunks; the numbers of the keys. */
  use(grant: QkdGrant, count = grant.keys.length / KEY_BYTES): number[] {
    this.out.delete(grant);
    return numbersOf(this.reservoir.use(grant, count));
  }

  giveBack(grant: QkdGrant): void {
    this.out.delete(grant);
    this.reservoir.giveBack(grant);
  }

  burn(grant: QkdGrant, count: number, why = 'as the test says'): void {
    this.out.delete(grant);
    this.reservoir.burn(grant, count, why);
  }

  trim(grant: QkdGrant, count: number): QkdGrant {
    this.out.delete(grant);
    const trimmed = this.reservoir.trim(grant, count);
    this.out.add(trimmed);
    return trimmed;
  }

  /** Lets `ms` go by in which the key manager gets `perSecond` new keys a second, and holds 16 at most. */
  async flow(ms: number, perSecond: number): Promise<void> {
    for (let past = 0; past < ms; past += 5) {
      this.#flown += (perSecond * 5) / 1_000;
      const whole = Math.floor(this.#flown);
      this.#flown -= whole;
      this.keys.left = Math.min(16, this.keys.left + whole);
      await this.clock.advance(5);
    }
  }

  /** Fails unless every key that was taken is somewhere. */
  assertBalance(): void {
    const { taken, woven, burned } = this.account.balance;
    const granted = [...this.out].reduce((sum, { keys }) => sum + keys.length / KEY_BYTES, 0);
    const lost = [...burned.values()].reduce((sum, keys) => sum + keys, 0);
    assert.equal(taken, woven + lost + granted + this.reservoir.held, 'a key is nowhere, or twice');
  }

  /** Fails where a key is still to be read in memory that its key manager gave. */
  assertWiped(): void {
    for (const keys of this.keys.given)
      assert.ok(
        keys.every((byte) => byte === 0),
        'a key was not wiped',
      );
  }
}
