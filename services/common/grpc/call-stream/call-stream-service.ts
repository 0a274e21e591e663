import { type CallContext, Metadata, ServerError, Status } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { CALLER_METADATA, callerOf } from '#common/grpc/callers.ts';
import { MAX_MESSAGE_BYTES } from '#common/grpc/channel-options.ts';
import { REASON_TRAILER } from '#common/grpc/error-mapping.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import { SESSION_CALLS } from '#common/limits/message-limits.ts';
import type { Clock } from '#common/time/clock.ts';
import type { CallsRequest, CallsResponse } from '#gen/keyweave/v1/call_stream.ts';
import { FRAME_BYTES, LONGEST_CALL_MS } from './streamed-calls.ts';

/** Streams on one connection; a caller goes round four at most, and those that it leaves end when they are done. */
const STREAMS_OF_A_CONNECTION = 64;

/** How long a server that stops waits for callers to end their half, milliseconds; one that is frozen is not to hold it. */
const LEAVING_MS = 500;

const NO_BYTES = new Uint8Array();

/** A unary method from bytes to bytes, with all that is around the handler. */
export type BytesMethod = (request: Uint8Array, context: CallContext) => Promise<Uint8Array>;

export interface CallStreamServiceOptions {
  /** By path. */
  readonly methods: ReadonlyMap<string, BytesMethod>;
  /** Why the caller of an open stream may not call `path` now, in words; undefined = it may. */
  readonly refusalOf: (stream: CallContext, path: string) => string | undefined;
  /** The server stops: no more calls are to be begun. */
  readonly stopping: AbortSignal;
  readonly clock: Pick<Clock, 'after'>;
}

/** The server's end of streams of calls (see call_stream.proto): every call on one is what it would be by itself. */
export function callStreamService(options: CallStreamServiceOptions) {
  /** By the address and port that they come from. */
  const open = new Map<string, number>();
  return {
    async *calls(frames: AsyncIterable<CallsRequest>, context: CallContext): AsyncGenerator<CallsResponse> {
      const { peer } = context;
      const count = open.get(peer) ?? 0;
      if (count >= STREAMS_OF_A_CONNECTION)
        throw new KeyweaveError('LIMIT_EXCEEDED', `${count} streams of calls are open; end some of them`);
      open.set(peer, count + 1);
      try {
        yield* new ServedStream(options, context).run(frames);
      } finally {
        const left = (open.get(peer) as number) - 1;
        if (left === 0) open.delete(peer);
        else open.set(peer, left);
      }
    },
  };
}

class ServedStream {
  readonly #o: CallStreamServiceOptions;
  readonly #context: CallContext;
  readonly #answers = new PushQueue<CallsResponse>();
  readonly #underWay = new Map<number, AbortController>();
  /** No more frames come. */
  #heardAll = false;
  #makeRoom: (() => void) | undefined;

  constructor(options: CallStreamServiceOptions, context: CallContext) {
    this.#o = options;
    this.#context = context;
  }

  async *run(frames: AsyncIterable<CallsRequest>): AsyncGenerator<CallsResponse> {
    const { stopping } = this.#o;
    this.#context.sendHeader();
    const leave = () => {
      this.#answers.push({ call: 0, code: 0, reason: '', detail: '', response: NO_BYTES });
      this.#o.clock.after(LEAVING_MS, () => this.#hasHeardAll(), true);
    };
    if (stopping.aborted) leave();
    stopping.addEventListener('abort', leave, { once: true });
    const heard = this.#hear(frames);
    heard.catch(() => undefined);
    try {
      for await (const answer of this.#answers) {
        yield answer;
        this.#makeRoom?.();
      }
      // Of a caller that does not end its half nothing more is awaited.
      if (!stopping.aborted) await heard;
    } finally {
      stopping.removeEventListener('abort', leave);
      // Whoever called has gone.
      for (const call of this.#underWay.values()) call.abort();
    }
  }

  /** Rejects where the stream breaks, or what comes makes no sense. */
  async #hear(frames: AsyncIterable<CallsRequest>): Promise<void> {
    try {
      for await (const frame of frames) {
        if (frame.path === '') this.#underWay.get(frame.call)?.abort();
        else if (frame.call === 0 || this.#underWay.has(frame.call))
          throw new KeyweaveError('BAD_REQUEST', 'a call has a number that it cannot have');
        else void this.#serve(frame);
        // Answers that nobody reads, or too many calls: no more are heard until there is room.
        while (this.#answers.length + this.#underWay.size >= SESSION_CALLS) await this.#room();
      }
    } catch (error) {
      // Nobody is there any more for whom anything would be done.
      for (const call of this.#underWay.values()) call.abort();
      this.#answers.end();
      throw error;
    }
    this.#hasHeardAll();
  }

  #hasHeardAll(): void {
    this.#heardAll = true;
    this.#endWhenDone();
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#makeRoom = () => {
        this.#makeRoom = undefined;
        resolve();
      };
    });
  }

  async #serve({ call, path, timeoutMs, metadata, request }: CallsRequest): Promise<void> {
    const ending = new AbortController();
    this.#underWay.set(call, ending);
    const timer = this.#o.clock.after(Math.min(timeoutMs, LONGEST_CALL_MS), () => ending.abort());
    const trailer = Metadata();
    try {
      const refused = this.#o.refusalOf(this.#context, path);
      if (refused !== undefined) throw new ServerError(Status.PERMISSION_DENIED, refused);
      const method = this.#o.methods.get(path);
      if (!method) throw new ServerError(Status.UNIMPLEMENTED, 'the server has no such method');
      const { peer, header } = this.#context;
      const response = await method(request, {
        metadata: Metadata({ ...metadata, [CALLER_METADATA]: callerOf(this.#context.metadata) }),
        ...{ peer, header, trailer, signal: ending.signal, sendHeader: () => undefined },
      });
      if (response.length > MAX_MESSAGE_BYTES - FRAME_BYTES)
        throw new ServerError(Status.RESOURCE_EXHAUSTED, 'the answer is too large');
      this.#answers.push({ call, code: Status.OK, reason: '', detail: '', response });
    } catch (thrown) {
      this.#answers.push({ ...failureOf(thrown, trailer), call });
    } finally {
      timer.cancel();
      this.#underWay.delete(call);
      this.#endWhenDone();
      this.#makeRoom?.();
    }
  }

  #endWhenDone(): void {
    if (this.#heardAll && this.#underWay.size === 0) this.#answers.end();
  }
}

/** What the middleware has made of a failure; whatever else comes is not for the caller. */
function failureOf(thrown: unknown, trailer: Metadata): Omit<CallsResponse, 'call'> {
  const reason = trailer.get(REASON_TRAILER) ?? '';
  if (thrown instanceof ServerError)
    return { code: thrown.code, reason, detail: thrown.details, response: NO_BYTES };
  return { code: Status.CANCELLED, reason, detail: 'the call was given up', response: NO_BYTES };
}
