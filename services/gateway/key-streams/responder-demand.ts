import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { NodeServices } from '../sources/node-services.ts';
import type { ChunkSupply, KeyStream } from './key-stream.ts';

/** The initiator answers once the chunks are made or could not be; a slow KEM takes its time. */
const DEMAND_TIMEOUT_MS = 150_000;
const RETRY_DELAY_MS = 50;
const MAX_PAUSE_MS = 1_000;

/** Questions to an initiator that cannot be reached, before those who wait are told. */
const ATTEMPTS_WHILE_UNREACHABLE = 5;

/** The responder's supply: asks the initiator, one question at a time. */
export class ResponderDemand implements ChunkSupply {
  readonly #services: NodeServices;
  readonly #stream: KeyStream;
  readonly #onTheirWay: () => boolean;
  #wanted = 0;
  #running = false;
  #stopped = false;
  #failures = 0;

  /** @param onTheirWay whether the initiator is making chunks anyhow. */
  constructor(services: NodeServices, stream: KeyStream, onTheirWay: () => boolean) {
    this.#services = services;
    this.#stream = stream;
    this.#onTheirWay = onTheirWay;
  }

  want(count: number): void {
    if (this.#onTheirWay()) return;
    this.#wanted = Math.max(this.#wanted, count);
    if (!this.#running && !this.#stopped) void this.#run();
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(): Promise<void> {
    this.#running = true;
    const stream = this.#stream;
    try {
      while (this.#wanted > 0 && !this.#stopped) {
        const count = this.#wanted;
        this.#wanted = 0;
        try {
          await this.#services
            .peer(stream.peerNode)
            .demand({ keyStreamId: stream.idBytes, count }, DEMAND_TIMEOUT_MS);
          this.#failures = 0;
          if (!this.#stopped) stream.refill();
        } catch (thrown) {
          await this.#afterFailure(KeyweaveError.from(thrown));
        }
      }
    } finally {
      this.#running = false;
    }
  }

  /** An unreachable initiator is asked again; what it says about its own attempts is final. */
  async #afterFailure(error: KeyweaveError): Promise<void> {
    const stream = this.#stream;
    this.#failures += 1;
    if (this.#stopped) return;
    stream.lastFailure = error;
    if (isReason(error, 'UNKNOWN_STREAM')) {
      stream.peerClosed('the other node no longer knows this stream; open a new one');
      return;
    }
    const transport = isReason(error, 'PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN');
    if (transport && this.#failures < ATTEMPTS_WHILE_UNREACHABLE)
      this.#wanted = Math.max(1, stream.buffer.waiting);
    else stream.failWaiters(error);
    const delay = Math.min(MAX_PAUSE_MS, RETRY_DELAY_MS * 2 ** Math.min(10, this.#failures - 1));
    await new Promise((resolve) => setTimeout(resolve, delay));
  }
}
