import { mock } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { BatchAnswer } from '#gen/keyweave/v1/key_agreement.ts';
import type { CloseQkdRequest, OpenQkdRequest } from '#gen/keyweave/v1/qkd_source.ts';
import type { NodeServices } from '../../services/gateway/clients/node-services.ts';
import {
  type Batch,
  InitiatorProducer,
} from '../../services/gateway/production/initiator/initiator-producer.ts';
import { SourceFaults } from '../../services/gateway/production/source-faults.ts';
import type { KeyStream, KeyStreamOptions } from '../../services/gateway/streams/key-stream.ts';
import type { StreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { answerOf, keyStream, LIVING, termsOf } from './streams.ts';

/** What became of a GET_KEY. */
export interface Outcome {
  index?: number;
  degraded?: boolean;
  error?: unknown;
}

/**
 * An initiator's supply whose batches begin at once, and end as the test says.
 * The test mocks `setTimeout`; the clock is the bench's own.
 */
export class ProducerBench {
  /** Batches that the supply has begun, oldest first. */
  readonly begun: Batch[] = [];
  readonly stream: KeyStream;
  readonly supply: InitiatorProducer;
  readonly faults = new SourceFaults(silentLog);
  /** What the key manager was asked to open. */
  readonly opened: OpenQkdRequest[] = [];
  /** Epochs that were closed there. */
  readonly closed: number[] = [];
  /** Whether batches wait to begin until the test begins them. */
  held = false;
  /** Set it to have the key manager answer when and what the test says. */
  open: (request: OpenQkdRequest) => Promise<{ qkdKeyStreamId: string }>;
  nowMs = 0;

  constructor(
    keySources: readonly string[],
    options: {
      terms?: StreamTerms;
      qkd?: object;
      maxBatchChunks?: number;
      stream?: Partial<Omit<KeyStreamOptions, 'qos'>>;
    } = {},
  ) {
    this.open = async () => ({ qkdKeyStreamId: `qkd ${this.opened.length}` });
    const services = {
      now: () => this.nowMs,
      log: silentLog,
      limits: { max_batch_chunks: options.maxBatchChunks ?? 256 },
      qkd: { join: 'uris', timeout: 1_000, block_keys: 1, ...options.qkd },
      sourceFaults: this.faults,
      qkdSource: {
        openQkd: (request: OpenQkdRequest) => {
          this.opened.push(request);
          return this.open(request);
        },
        closeQkd: async ({ epoch }: CloseQkdRequest) => {
          this.closed.push(epoch);
          return {};
        },
      },
    } as unknown as NodeServices;
    this.stream = keyStream({
      terms: options.terms ?? termsOf('hkdf-sha384', keySources),
      qos: { timeoutMs: 60_000 },
      allowDegraded: true,
      now: () => this.nowMs,
      ...options.stream,
    });
    this.stream.peer = 'joined';
    this.supply = new InitiatorProducer(services, this.stream, {
      enqueue: (one) => {
        if (!this.held) this.begun.push(one.begin(one.offerable));
      },
    });
    this.stream.supply = this.supply;
  }

  get last(): Batch {
    return this.begun.at(-1) as Batch;
  }

  /** Lets everything happen that waits for nothing. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }

  async pass(ms: number): Promise<void> {
    this.nowMs += ms;
    mock.timers.tick(ms);
    await this.settle();
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
  answers(batch: Batch, change: Partial<BatchAnswer> = {}): void {
    this.supply.answered(batch, { ...answerOf(batch.count), ...change });
  }

  /** The batch fails before both ends have agreed on it. */
  async fails(batch: Batch, reason: ErrorReason, detail = 'words'): Promise<void> {
    this.supply.end(batch, 0, Promise.reject(new KeyweaveError(reason, detail)));
    await this.settle();
  }

  /** The batch fails after the responder has made it. */
  async failsLate(batch: Batch, reason: ErrorReason): Promise<void> {
    this.supply.end(batch, batch.count, Promise.reject(new KeyweaveError(reason, 'late')));
    await this.settle();
  }

  /** Both ends have released the batch, that the responder has made. */
  async confirmed(batch: Batch): Promise<Buffer> {
    const keys = Buffer.alloc(batch.count * this.stream.qos.keyChunkSize, 1);
    this.supply.end(batch, batch.count, Promise.resolve(keys));
    await this.settle();
    return keys;
  }

  async succeeds(batch: Batch, change: Partial<BatchAnswer> = {}): Promise<void> {
    this.answers(batch, change);
    await this.confirmed(batch);
  }

  /** The application reads whatever there is, at such a pace that a deep prefetch is worth it. */
  readFast(): void {
    for (let i = 0; i < 60; i++) {
      this.nowMs += 5;
      this.stream.depth.noteGet(this.nowMs);
    }
  }
}
