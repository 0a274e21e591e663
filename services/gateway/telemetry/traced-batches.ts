import { type Context, type Link, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { streamHash } from '#common/ids/stream-hash.ts';
import type { Tracing } from '#common/telemetry/tracing.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';
import type { OfferedBatch, WatchRound } from '../production/producers.ts';
import type { StreamFacts, StreamListener } from '../streams/stream-events.ts';

/** Requests of one stream, and of all of them, that are remembered until a batch answers them. */
const MAX_CAUSES = { ofStream: 4, ofAll: 1_024 } as const;

/** Both halves of a round are done; what its confirmations take longer is not looked at. */
const CONFIRM_LIMIT_MS = 5_000;

/** A round that is under way, and its batches that are neither released nor dropped yet. */
interface OpenRound {
  readonly span: Span;
  readonly left: Set<string>;
}

/**
 * A span for every round of batches that this node drives. It is part of the
 * trace of the request that waits for it, where one is traced, and linked to
 * the others; one that nobody waits for begins a trace of its own. What
 * follows from a request in time is no measure for that: rounds serve many
 * streams, and set each other off.
 */
export class TracedBatches implements StreamListener {
  readonly #tracing: Tracing;
  readonly #clock: Pick<Clock, 'after'>;
  /** Traced requests by stream, until a batch of the stream begins. */
  readonly #causes = new Map<string, Set<Context>>();
  #causeCount = 0;
  readonly #byStream = new Map<string, Set<OpenRound>>();

  constructor(tracing: Tracing, clock: Pick<Clock, 'after'> = systemClock) {
    this.#tracing = tracing;
    this.#clock = clock;
  }

  /**
   * A traced request needs keys of the stream.
   *
   * @returns forgets it.
   */
  wanted(streamId: string, cause: Context): () => void {
    for (const { span } of this.#byStream.get(streamId) ?? []) {
      // The batch that answers it may be under way already.
      trace.getSpan(cause)?.addLink({ context: span.spanContext() });
    }
    const causes = this.#causes.get(streamId) ?? new Set();
    if (causes.size >= MAX_CAUSES.ofStream || this.#causeCount >= MAX_CAUSES.ofAll) return () => undefined;
    causes.add(cause);
    this.#causeCount += 1;
    this.#causes.set(streamId, causes);
    return () => this.#forget(streamId, cause);
  }

  /** The span of a round, around both its halves. */
  readonly watch: WatchRound = (round, batches) => {
    const span = this.#begin(batches);
    if (!span) return round;
    const within = this.#tracing.within(span);
    const open: OpenRound = { span, left: new Set(batches.map(({ stream, first }) => keyOf(stream, first))) };
    for (const { stream } of batches) {
      const rounds = this.#byStream.get(stream.id) ?? new Set();
      this.#byStream.set(stream.id, rounds.add(open));
    }
    return {
      offer: () => this.#tracing.run(within, () => round.offer()),
      finish: async () => {
        await this.#tracing.run(within, () => round.finish());
        if (open.left.size > 0) this.#clock.after(CONFIRM_LIMIT_MS, () => this.#end(open, batches), true);
      },
    };
  };

  opened(stream: StreamFacts): void {
    const cause = this.#tracing.active();
    if (cause) this.wanted(stream.id, cause);
  }

  released(stream: StreamFacts, first: number): void {
    this.#over(stream, first);
  }

  dropped(stream: StreamFacts, first: number, _count: number, { reason }: KeyweaveError): void {
    this.#over(stream, first, reason);
  }

  closed(stream: StreamFacts): void {
    for (const cause of this.#causes.get(stream.id) ?? []) this.#forget(stream.id, cause);
    for (const open of this.#byStream.get(stream.id) ?? []) {
      for (const key of open.left) if (key.startsWith(`${stream.id} `)) open.left.delete(key);
      if (open.left.size === 0) open.span.end();
    }
    this.#byStream.delete(stream.id);
  }

  #begin(batches: readonly OfferedBatch[]): Span | undefined {
    const causes = batches.flatMap(({ stream }) => [...(this.#causes.get(stream.id) ?? [])]);
    for (const { stream } of batches) {
      for (const cause of this.#causes.get(stream.id) ?? []) this.#forget(stream.id, cause);
    }
    const parent = causes.find(isUnderWay) ?? causes[0];
    const others = causes.filter((cause) => cause !== parent);
    const links = others.flatMap((cause): Link[] => {
      const context = trace.getSpanContext(cause);
      return context ? [{ context }] : [];
    });
    const [first] = batches;
    return this.#tracing.start('keyweave.batch', {
      kind: SpanKind.INTERNAL,
      parent,
      links,
      attributes: {
        'keyweave.batches': batches.length,
        'keyweave.keys': batches.reduce((sum, { count }) => sum + count, 0),
        ...(first && {
          'keyweave.stream': streamHash(first.stream.id),
          'keyweave.first_index': first.first,
          'keyweave.peer': first.stream.route.farNode,
        }),
      },
    });
  }

  #over(stream: StreamFacts, first: number, reason?: string): void {
    const key = keyOf(stream, first);
    for (const open of this.#byStream.get(stream.id) ?? []) {
      if (!open.left.delete(key)) continue;
      if (reason !== undefined)
        open.span.setStatus({ code: SpanStatusCode.ERROR }).setAttribute('error.type', reason);
      this.#leave(stream.id, open);
      if (open.left.size === 0) open.span.end();
    }
  }

  #end(open: OpenRound, batches: readonly OfferedBatch[]): void {
    for (const { stream } of batches) this.#leave(stream.id, open);
    if (open.span.isRecording()) open.span.end();
  }

  #leave(streamId: string, open: OpenRound): void {
    const rounds = this.#byStream.get(streamId);
    rounds?.delete(open);
    if (rounds?.size === 0) this.#byStream.delete(streamId);
  }

  #forget(streamId: string, cause: Context): void {
    const causes = this.#causes.get(streamId);
    if (!causes?.delete(cause)) return;
    this.#causeCount -= 1;
    if (causes.size === 0) this.#causes.delete(streamId);
  }
}

/** Somebody waits for its answer. */
function isUnderWay(cause: Context): boolean {
  return trace.getSpan(cause)?.isRecording() === true;
}

function keyOf({ id }: StreamFacts, first: number): string {
  return `${id} ${first}`;
}
