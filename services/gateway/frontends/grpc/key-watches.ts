import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { WatchKeysRequest, WatchKeysResponse } from '#gen/keyweave/v1/key_delivery.ts';
import type { KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import type { Owner } from '../../streams/owner.ts';
import { keyMessage } from './answers.ts';
import { bad } from './requests.ts';

/** Keys that a client may have granted and not been sent. */
const MAX_CREDITS = 4_096;

/** Watches that one application may have open. */
export const MAX_WATCHES = 64;

/** How long a client may take to name its stream. */
const FIRST_MESSAGE_MS = 10_000;

/** Sends keys as they are made, as far as their applications grant it. */
export class KeyWatches {
  readonly #delivery: Pick<KeyDelivery, 'getKey'>;
  readonly #directory: Pick<StreamDirectory, 'status'>;
  /** Open watches by identity. */
  readonly #open = new Map<string, number>();

  constructor(delivery: Pick<KeyDelivery, 'getKey'>, directory: Pick<StreamDirectory, 'status'>) {
    this.#delivery = delivery;
    this.#directory = directory;
  }

  /**
   * The keys of the stream that the first request names, in order.
   *
   * @param signal fires when the client has gone, or the server stops.
   * @throws KeyweaveError LIMIT_EXCEEDED, BAD_REQUEST, TIMEOUT without a
   *   request, or what getKey throws but TIMEOUT.
   */
  async *watch(
    requests: AsyncIterable<WatchKeysRequest>,
    owner: Owner,
    signal: AbortSignal,
  ): AsyncGenerator<WatchKeysResponse, void, undefined> {
    const leave = this.#enter(owner.identity ?? '');
    const grants = new Grants(requests);
    try {
      const ksid = await grants.ksid(signal);
      // Told at once where there is no such stream, whether or not there are credits.
      this.#directory.status({ ksid, owner });
      while (!signal.aborted && (await grants.next(signal))) {
        const key = await this.#nextKey(ksid, owner, signal);
        if (key === undefined) return;
        yield key;
      }
    } finally {
      leave();
    }
  }

  /** Waits as long as it takes; undefined when there is nobody left to take it. */
  async #nextKey(ksid: string, owner: Owner, signal: AbortSignal): Promise<WatchKeysResponse | undefined> {
    while (!signal.aborted) {
      try {
        return { key: keyMessage(await this.#delivery.getKey({ ksid, owner, signal })) };
      } catch (error) {
        if (signal.aborted) return undefined;
        if (!isReason(error, 'TIMEOUT')) throw error;
      }
    }
    return undefined;
  }

  #enter(identity: string): () => void {
    const open = this.#open.get(identity) ?? 0;
    if (open >= MAX_WATCHES) {
      throw new KeyweaveError('LIMIT_EXCEEDED', `${MAX_WATCHES} watches of this application are open`);
    }
    this.#open.set(identity, open + 1);
    return () => {
      const left = (this.#open.get(identity) as number) - 1;
      if (left === 0) this.#open.delete(identity);
      else this.#open.set(identity, left);
    };
  }
}

/** What a client has granted, read as it comes. */
class Grants {
  #credits = 0;
  #ksid: string | undefined;
  #failure: KeyweaveError | undefined;
  readonly #end = new AbortController();
  #changed = Promise.withResolvers<void>();

  constructor(requests: AsyncIterable<WatchKeysRequest>) {
    void this.#read(requests);
  }

  /** Fires when the client has ended its side, or said what cannot be: there will be no more credits. */
  get ended(): AbortSignal {
    return this.#end.signal;
  }

  /** The stream that the first request names. @throws KeyweaveError */
  async ksid(signal: AbortSignal): Promise<string> {
    if (this.#ksid === undefined && !this.ended.aborted) {
      await waitFor(this.#changed.promise, FIRST_MESSAGE_MS, signal);
    }
    if (this.#failure) throw this.#failure;
    if (this.#ksid !== undefined) return this.#ksid;
    if (this.ended.aborted) throw bad('no request has come');
    throw new KeyweaveError('TIMEOUT', 'no request has come in time');
  }

  /** Uses a credit up, waiting for one; false when there will be none. @throws KeyweaveError */
  async next(signal: AbortSignal): Promise<boolean> {
    while (this.#credits === 0 && !this.ended.aborted && !signal.aborted) {
      const gone = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => gone.resolve(), { once: true });
      await Promise.race([this.#changed.promise, gone.promise]);
    }
    if (this.#failure) throw this.#failure;
    if (this.#credits === 0) return false;
    this.#credits -= 1;
    return true;
  }

  async #read(requests: AsyncIterable<WatchKeysRequest>): Promise<void> {
    try {
      for await (const { keyStreamId, credits } of requests) {
        this.#take(keyStreamId, credits);
        this.#wake();
      }
    } catch (error) {
      if (error instanceof KeyweaveError) this.#failure = error;
    }
    this.#end.abort();
    this.#wake();
  }

  #take(keyStreamId: string, credits: number): void {
    if (this.#ksid === undefined) this.#ksid = keyStreamId;
    else if (keyStreamId !== '') throw bad('key_stream_id belongs in the first message only');
    this.#credits += credits;
    if (this.#credits > MAX_CREDITS) {
      throw bad(`credits: ${MAX_CREDITS} at most may be outstanding, not ${this.#credits}`);
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
