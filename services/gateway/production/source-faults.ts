import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { StreamFacts, StreamListener } from '../streams/stream-events.ts';

/**
 * Counts the batches that were dropped since a source gave what no sound
 * source gives, and logs each as what it is: whoever runs the node has to look
 * at that source.
 */
export class SourceFaults implements StreamListener {
  readonly #log: Log;
  #total = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Batches since the start of the gateway, of all streams. */
  get total(): number {
    return this.#total;
  }

  dropped(stream: StreamFacts, first: number, _count: number, error: KeyweaveError): void {
    if (!isReason(error, 'SOURCE_FAULT')) return;
    this.#total += 1;
    this.#log.error('a source is at fault; its batch was dropped at both ends', {
      ksid: stream.id,
      first,
      sources: stream.terms.slots.map((slot) => slot.algorithm).join(', '),
      detail: error.detail,
    });
  }
}
