import { ClientError, Status } from 'nice-grpc';
import { PushQueue } from '#common/grpc/push-queue.ts';
import { SESSION_CALLS } from '#common/limits/message-limits.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import type { CallsRequest, CallsResponse } from '#gen/keyweave/v1/call_stream.ts';

/** What a call goes with. */
export interface StreamedCall {
  /** Of the method. */
  readonly path: string;
  /** The encoded request; belongs to the stream from now on. */
  readonly request: Uint8Array;
  readonly metadata: Readonly<Record<string, string>>;
  /** Milliseconds that the call may take. */
  readonly timeoutMs: number;
  /** Gives the call up. */
  readonly signal?: AbortSignal | undefined;
}

/** Why calls that were under way on a stream have no answer: the stream has ended, with this. */
export class CallStreamEnded extends Error {
  readonly code: Status;
  /** Whether the server has begun none of them, since it has no streams of calls for this caller. */
  readonly isRefusal: boolean;

  constructor(cause: unknown, accepted = true) {
    super('the stream of calls has ended', { cause });
    this.code = cause instanceof ClientError ? cause.code : Status.UNAVAILABLE;
    this.isRefusal = !accepted && REFUSALS.includes(this.code);
  }
}

/** How a server answers that has no streams of calls: one that is older looks for the caller's name first. */
const REFUSALS: readonly Status[] = [Status.UNIMPLEMENTED, Status.PERMISSION_DENIED];

/** @param accepted called when the server has taken the stream, before it begins any call. */
export type OpenCalls = (
  frames: AsyncIterable<CallsRequest>,
  accepted: () => void,
) => AsyncIterable<CallsResponse>;

/** The caller's end of one stream of calls (see call_stream.proto). */
export class CallStream {
  readonly #clock: Pick<Clock, 'after'>;
  readonly #frames = new PushQueue<CallsRequest>();
  readonly #calls = new Map<number, PromiseWithResolvers<CallsResponse>>();
  #newest = 0;
  #takesCalls = true;
  /** Answers that have come. */
  #heard = 0;

  /** @param open calls the server's CallStream.Calls. */
  constructor(open: OpenCalls, clock: Pick<Clock, 'after'>) {
    this.#clock = clock;
    void this.#read(open);
  }

  /** Whether calls may be begun on it. */
  get takesCalls(): boolean {
    return this.#takesCalls;
  }

  /**
   * The answer's frame, whether it is one of success or not.
   *
   * @throws CallStreamEnded where the stream ends before; ClientError DEADLINE_EXCEEDED, or UNAVAILABLE where
   *   the server reads nothing any more; an AbortError.
   */
  async call({ path, request, metadata, timeoutMs, signal }: StreamedCall): Promise<CallsResponse> {
    signal?.throwIfAborted();
    if (!this.#takesCalls) throw new CallStreamEnded(undefined);
    if (this.#frames.length >= SESSION_CALLS) {
      this.retire();
      throw new ClientError(path, Status.UNAVAILABLE, 'the server reads no calls');
    }
    this.#newest += 1;
    const number = this.#newest;
    const heardBefore = this.#heard;
    const answer = Promise.withResolvers<CallsResponse>();
    this.#calls.set(number, answer);
    const frame = { call: number, path, timeoutMs: Math.ceil(timeoutMs), metadata, request };
    const giveUp = (why: unknown) => {
      // What the server has not got yet it is not to get.
      if (!this.#frames.remove(frame)) this.#frames.push({ ...NOTHING, call: number });
      answer.reject(why);
    };
    const abort = () => giveUp(signal?.reason);
    const timer: Timer = this.#clock.after(timeoutMs, () => {
      // A server that says nothing at all gets no more calls on this stream.
      if (this.#heard === heardBefore) this.retire();
      giveUp(new ClientError(path, Status.DEADLINE_EXCEEDED, 'no answer in time'));
    });
    signal?.addEventListener('abort', abort, { once: true });
    this.#frames.push(frame);
    try {
      return await answer.promise;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', abort);
      this.#calls.delete(number);
      this.#endWhenDone();
    }
  }

  /** Begins no more calls, and ends when those under way have. */
  retire(): void {
    this.#takesCalls = false;
    this.#endWhenDone();
  }

  #endWhenDone(): void {
    if (!this.#takesCalls && this.#calls.size === 0) this.#frames.end();
  }

  async #read(open: OpenCalls): Promise<void> {
    let accepted = false;
    let why: unknown;
    try {
      const answers = open(this.#frames, () => {
        accepted = true;
      });
      for await (const frame of answers) {
        this.#heard += 1;
        if (frame.call === 0) this.retire();
        // One that was given up has been answered all the same.
        else this.#calls.get(frame.call)?.resolve(frame);
      }
    } catch (thrown) {
      why = thrown;
    }
    this.#takesCalls = false;
    this.#frames.end();
    for (const call of this.#calls.values()) call.reject(new CallStreamEnded(why, accepted));
  }
}

const NOTHING: Omit<CallsRequest, 'call'> = {
  ...{ path: '', timeoutMs: 0, metadata: {}, request: new Uint8Array() },
};
