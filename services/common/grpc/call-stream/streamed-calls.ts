import { type CallOptions, ClientError, Metadata, Status } from 'nice-grpc';
import { MAX_MESSAGE_BYTES } from '#common/grpc/channel-options.ts';
import { TIMEOUT_METADATA } from '#common/grpc/deadline.ts';
import { REASON_TRAILER } from '#common/grpc/error-mapping.ts';
import type { Clock } from '#common/time/clock.ts';
import type { CallsResponse } from '#gen/keyweave/v1/call_stream.ts';
import { CallStream, CallStreamEnded, type OpenCalls } from './call-stream.ts';

/** What a frame takes beside the message in it, bytes at most. */
export const FRAME_BYTES = 16 * 1024;

/**
 * How long calls are begun on a stream, milliseconds: less than a connection
 * that has come to its age still has, and often enough that each of a name's
 * replicas gets its share.
 */
const LIFE_MS = 10_000;

/** For so long a server that has no streams of calls is called without them. */
const WITHOUT_MS = 60_000;

/** No method of ours takes longer; for those that name no limit. */
export const LONGEST_CALL_MS = 180_000;

export interface StreamedCallsOptions {
  /** Calls the server's CallStream.Calls. */
  readonly open: OpenCalls;
  readonly clock: Pick<Clock, 'monotonicMs' | 'after'>;
  /** How many streams calls go round: more than one where a name stands for several replicas. */
  readonly streams: number;
}

/** Calls of one connection, over streams of calls where the server has them. */
export class StreamedCalls {
  readonly #o: StreamedCallsOptions;
  readonly #streams: ({ stream: CallStream; bornMs: number } | undefined)[];
  #turn = 0;
  #withoutUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: StreamedCallsOptions) {
    this.#o = options;
    this.#streams = Array.from({ length: options.streams }, () => undefined);
  }

  /**
   * The encoded response; undefined where the server has no streams of calls,
   * so that the call is to be made by itself. Errors are those of such a call.
   */
  async call(path: string, request: Uint8Array, options: CallOptions): Promise<Uint8Array | undefined> {
    if (this.#o.clock.monotonicMs() < this.#withoutUntilMs) return undefined;
    if (request.length > MAX_MESSAGE_BYTES - FRAME_BYTES)
      throw new ClientError(path, Status.RESOURCE_EXHAUSTED, 'the message is too large');
    const metadata = textOf(options.metadata);
    let answer: CallsResponse;
    try {
      answer = await this.#pick().call({
        ...{ path, request, metadata, signal: options.signal },
        timeoutMs: Number(metadata[TIMEOUT_METADATA] ?? LONGEST_CALL_MS),
      });
    } catch (thrown) {
      if (!(thrown instanceof CallStreamEnded)) throw thrown;
      if (!thrown.isRefusal) throw new ClientError(path, thrown.code, thrown.message);
      this.#withoutUntilMs = this.#o.clock.monotonicMs() + WITHOUT_MS;
      return undefined;
    }
    const { code, reason, detail, response } = answer;
    if (code === Status.OK) return response;
    if (reason !== '') options.onTrailer?.(Metadata({ [REASON_TRAILER]: reason }));
    throw new ClientError(path, code, detail);
  }

  /** The next calls begin on new streams: those that are there have shown a certificate that is not the newest. */
  renew(): void {
    this.#streams.forEach((known, i) => {
      known?.stream.retire();
      this.#streams[i] = undefined;
    });
    this.#withoutUntilMs = Number.NEGATIVE_INFINITY;
  }

  #pick(): CallStream {
    const { clock, open } = this.#o;
    this.#turn = (this.#turn + 1) % this.#streams.length;
    const known = this.#streams[this.#turn];
    const nowMs = clock.monotonicMs();
    if (known?.stream.takesCalls && nowMs - known.bornMs < LIFE_MS) return known.stream;
    known?.stream.retire();
    const stream = new CallStream(open, clock);
    this.#streams[this.#turn] = { stream, bornMs: nowMs };
    return stream;
  }
}

/** What the transport keeps to itself of a call that goes alone has its own places in a frame. */
function textOf(metadata: CallOptions['metadata']): Record<string, string> {
  const text: Record<string, string> = {};
  for (const [name, values] of metadata ?? []) {
    const [value] = values;
    if (typeof value === 'string' && !name.startsWith('grpc-')) text[name] = value;
  }
  return text;
}
