import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { BatchAnswer } from '#gen/keyweave/v1/key_agreement.ts';
import type { CloseQkdRequest, OpenQkdRequest } from '#gen/keyweave/v1/qkd_source.ts';
import type { Batch } from '../../services/gateway/production/batch.ts';
import { InitiatorProducer } from '../../services/gateway/production/initiator/initiator-producer.ts';
import { SourceFaults } from '../../services/gateway/production/source-faults.ts';
import type { KeyStream } from '../../services/gateway/streams/key-stream.ts';
import { StreamEvents } from '../../services/gateway/streams/stream-events.ts';
import type { StreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { FakeClock } from './fake-clock.ts';
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
  /** What the key manager was asked to open. */
  readonly opened: OpenQkdRequest[] = [];
  /** Epochs that were closed there. */
  readonly closed: number[] = [];
  /** Whether batches wait to begin until the test begins them. */
  held = false;
  /** Set it to have the key manager answer when and what the test says. */
  open: (request: OpenQkdRequest) => Promise<string>;

  constructor(
    keySources: readonly string[],
    options: {
      terms?: StreamTerms;
      join?: 'auto' | 'ksid' | 'uris';
      maxBlockKeys?: number;
      maxBatchChunks?: number;
      stream?: Omit<StreamChange<InitiatorProducer>, 'producer'>;
    } = {},
  ) {
    const { clock } = this;
    const log = silentLog;
    this.open = async () => `qkd ${this.opened.length}`;
    const qkd = {
      open: (request: OpenQkdRequest) => {
        this.opened.push(request);
        return this.open(request);
      },
      fetch: async () => ({ results: [], blockBytes: 0 }),
      close: async ({ epoch }: CloseQkdRequest) => {
        this.closed.push(epoch);
      },
    };
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
          ...{ clock, log, rounds },
          qkd: { qkd, clock, log, join: options.join ?? 'uris' },
          maxBlockKeys: options.maxBlockKeys ?? 1,
          maxBatchChunks: options.maxBatchChunks ?? 256,
        }),
    });
  }

  get producer(): InitiatorProducer {
    return this.stream.producer;
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
        outcome.degraded = taken.degraded;
      },
      (error: unknown) => {
        outcome.error = error;
      },
    );
    await this.settle();
    return outcome;
  }

  /** The responder has made the batch. */
  answers(batch: InitiatorBatch, change: Partial<BatchAnswer> = {}): void {
    this.producer.answered(batch, { ...answerOf(batch.count), ...change });
  }

  /** The batch fails before both ends have agreed on it. */
  async fails(batch: InitiatorBatch, reason: ErrorReason, detail = 'words'): Promise<void> {
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
}
