import assert from 'node:assert/strict';
import { wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type {
  BatchAnswer,
  ProduceRequest,
  QkdReadiness,
  QkdReference,
} from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLink } from '../../services/gateway/clients/peer-link.ts';
import type { Batch } from '../../services/gateway/production/batch.ts';
import { InitiatorProducer } from '../../services/gateway/production/initiator/initiator-producer.ts';
import type { QkdPortion } from '../../services/gateway/production/initiator/qkd-portion.ts';
import { SourceFaults } from '../../services/gateway/production/source-faults.ts';
import type { InitiatorReservoir } from '../../services/gateway/reservoirs/initiator/initiator-reservoir.ts';
import { Reservoirs } from '../../services/gateway/reservoirs/reservoirs.ts';
import type { KeyStream } from '../../services/gateway/streams/key-stream.ts';
import { StreamEvents } from '../../services/gateway/streams/stream-events.ts';
import type { StreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeKeyManager, numbersOf } from './fake-key-manager.ts';
import { answerOf, keyStream, LIVING, type StreamChange, termsOf } from './streams.ts';

/** What became of a GET_KEY. */
export interface Outcome {
  index?: number;
  degraded?: boolean;
  error?: unknown;
}

type InitiatorBatch = Batch<InitiatorProducer>;

/** An initiator's producer whose batches begin at once, and end as the test says; its clock is the bench's. */
export class ProducerBench {
  readonly clock = new FakeClock();
  /** Batches that the producer has begun, oldest first. */
  readonly begun: InitiatorBatch[] = [];
  readonly stream: KeyStream<InitiatorProducer>;
  readonly faults = new SourceFaults(silentLog);
  readonly keys = new FakeKeyManager();
  readonly reservoirs: Reservoirs;
  /** Epochs of QKD keys that the other end was told to open. */
  readonly announced: QkdReference[] = [];
  /** What both ends have woven, of the keys' epochs and numbers. */
  readonly woven: string[] = [];
  /** Whether batches wait to begin until the test begins them. */
  held = false;
  /** Set it to have the other end answer an announcement when and what the test says. */
  onAnnounce: (reference: QkdReference) => Promise<QkdReadiness> = async () => ({
    failure: undefined,
    blockKeys: 0,
  });

  constructor(
    keySources: readonly string[],
    options: {
      terms?: StreamTerms;
      join?: 'auto' | 'ksid' | 'uris';
      maxBlockKeys?: number;
      maxKeys?: number;
      sharing?: 'link' | 'stream';
      maxBatchChunks?: number;
      stream?: Omit<StreamChange<InitiatorProducer>, 'producer'>;
    } = {},
  ) {
    const { clock } = this;
    const log = silentLog;
    const produce = async ({ qkd }: ProduceRequest) => {
      assert.ok(qkd);
      this.announced.push(qkd);
      return { answers: [], decisions: [], qkd: await this.onAnnounce(qkd) };
    };
    this.reservoirs = new Reservoirs({
      ...{ qkd: this.keys, clock, log, links: { to: () => ({ produce }) as unknown as PeerLink } },
      random: { uuid: () => '', bytes: (count) => Buffer.alloc(count, 7) },
      settings: {
        join: options.join ?? 'uris',
        block_keys: options.maxBlockKeys ?? 1,
        sharing: options.sharing ?? 'link',
        reservoir: { max_keys: options.maxKeys ?? 2_048, max_age: 60_000 },
        key_rate_bps: 0,
      },
    });
    const rounds = {
      enqueue: (one: InitiatorProducer) => {
        if (!this.held) this.begun.push(one.begin(one.offerable));
      },
    };
    this.stream = keyStream<InitiatorProducer>({
      terms: options.terms ?? termsOf('hkdf-sha384', keySources),
      qos: { timeoutMs: 60_000 },
      allowDegraded: true,
      clock,
      events: new StreamEvents([this.faults]),
      peer: 'joined',
      ...options.stream,
      producer: (stream) =>
        new InitiatorProducer(stream, {
          ...{ clock, log, rounds, reservoirs: this.reservoirs },
          maxBatchChunks: options.maxBatchChunks ?? 256,
        }),
    });
  }

  get producer(): InitiatorProducer {
    return this.stream.producer;
  }

  /** The reservoir of all streams to the other node. */
  get reservoir(): InitiatorReservoir {
    const found = this.reservoirs.initiator(this.stream);
    this.reservoirs.leaveInitiator(this.stream, found);
    return found;
  }

  get last(): InitiatorBatch {
    return this.begun.at(-1) as InitiatorBatch;
  }

  /** Lets everything happen that waits for nothing. */
  settle(): Promise<void> {
    return this.clock.settle();
  }

  pass(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }

  /** A GET_KEY that waits, and what became of it. */
  async get(index?: number): Promise<Outcome> {
    const outcome: Outcome = {};
    Promise.resolve(this.stream.take(index, 60_000, () => undefined, LIVING)).then(
      (taken) => {
        outcome.index = taken.index;
        outcome.degraded = taken.degraded !== false;
      },
      (error: unknown) => {
        outcome.error = error;
      },
    );
    await this.settle();
    return outcome;
  }

  /** The responder has made the batch, or as much of it as it says. */
  answers(batch: InitiatorBatch, change: Partial<BatchAnswer> = {}): void {
    const answer = { ...answerOf(batch.count), ...change };
    const { grant } = batch;
    if (grant) {
      const keys = this.#qkd.use(grant, answer.count);
      const { epoch } = grant.sequence.name;
      for (const number of numbersOf(keys)) {
        const name = `${epoch} ${number}`;
        assert.ok(!this.woven.includes(name), `QKD key ${name} is woven twice`);
        this.woven.push(name);
      }
      wipe(keys);
    }
    this.producer.answered(batch, answer);
  }

  /** The batch fails before both ends have agreed on it, and the other end has taken so many of its QKD keys. */
  async fails(batch: InitiatorBatch, reason: ErrorReason, detail = 'words', taken = 0): Promise<void> {
    if (batch.grant) this.#qkd.drop(batch.grant, taken, reason);
    this.producer.end(batch, 0, Promise.reject(new KeyweaveError(reason, detail)));
    await this.settle();
  }

  /** The batch fails after the responder has made it. */
  async failsLate(batch: InitiatorBatch, reason: ErrorReason): Promise<void> {
    this.producer.end(batch, batch.count, Promise.reject(new KeyweaveError(reason, 'late')));
    await this.settle();
  }

  /** Both ends have released the batch, that the responder has made. */
  async confirmed(batch: InitiatorBatch): Promise<Buffer> {
    const keys = Buffer.alloc(batch.count * this.stream.qos.keyChunkSize, 1);
    this.producer.end(batch, batch.count, Promise.resolve(keys));
    await this.settle();
    return keys;
  }

  async succeeds(batch: InitiatorBatch, change: Partial<BatchAnswer> = {}): Promise<void> {
    this.answers(batch, change);
    await this.confirmed(batch);
  }

  /** The application reads whatever there is, at such a pace that a deep prefetch is worth it. */
  async readFast(): Promise<void> {
    for (let i = 0; i < 60; i++) {
      await this.pass(5);
      this.stream.depth.noteGet(this.clock.monotonicMs());
    }
  }

  get #qkd(): QkdPortion {
    assert.ok(this.producer.qkd);
    return this.producer.qkd;
  }
}
