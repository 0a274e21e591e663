import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Owner } from './owner.ts';
import type { Degraded } from './policy/lacking.ts';
import type { StreamRole } from './producer.ts';
import type { Route } from './route.ts';
import type { StreamTerms } from './stream-terms.ts';

/** What listeners may know of a stream; no key, and nothing that changes it. */
export interface StreamFacts {
  /** KSID in text form: on a plain listener it is a bearer token, so logs and traces get 8 digits of it. */
  readonly id: string;
  readonly role: StreamRole;
  readonly terms: StreamTerms;
  readonly route: Route;
  /** Undefined before an application of this end has it. */
  readonly owner: Owner | undefined;
}

/** Detail of the error of a batch for which both ends hold keys, and not the same. */
export const KEYS_DIFFER = 'the two ends did not derive the same keys';

/** A request of an application that was refused. */
export interface RefusedRequest {
  readonly call: 'open' | 'getKey' | 'close';
  readonly owner: Owner;
  readonly error: KeyweaveError;
}

/**
 * What happens to streams, for whoever wants to know: logs, metrics, audit,
 * console. Called in the middle of the work, synchronously; a listener must
 * be quick and keep no reference to the stream.
 */
export interface StreamListener {
  /** An application of this end has opened it; the peer's has or has not joined yet. */
  opened?(stream: StreamFacts): void;
  /** The peer's application has joined. */
  joined?(stream: StreamFacts): void;
  /** A key goes to the application. */
  delivered?(stream: StreamFacts, index: number, degraded: Degraded): void;
  refused?(request: RefusedRequest): void;
  /** The keys of a batch are confirmed by both ends, and can be read at this one. */
  released?(stream: StreamFacts, first: number, count: number): void;
  /** A batch was dropped at this end: the indexes from `first` on are burned. */
  dropped?(stream: StreamFacts, first: number, count: number, error: KeyweaveError): void;
  /** Chunks were released for which a shared_seed stood in for a source, or that lack those of a kind. */
  degraded?(stream: StreamFacts, first: number, count: number, how: Degraded): void;
  /** Its TTL has run out. */
  expired?(stream: StreamFacts): void;
  /** This end is over; `why` is for people. */
  closed?(stream: StreamFacts, why: string): void;
}

/** Tells every listener; one that throws costs nobody else anything. */
export class StreamEvents implements Required<StreamListener> {
  readonly #listeners: readonly StreamListener[];
  readonly #delivered: readonly StreamListener[];
  readonly #onFault: (thrown: unknown) => void;

  /** @param onFault learns what a listener has thrown. */
  constructor(
    listeners: readonly StreamListener[] = [],
    onFault: (thrown: unknown) => void = () => undefined,
  ) {
    this.#listeners = listeners;
    // The only one that every key pays for.
    this.#delivered = listeners.filter((listener) => listener.delivered !== undefined);
    this.#onFault = onFault;
  }

  opened(stream: StreamFacts): void {
    this.#tell((listener) => listener.opened?.(stream));
  }

  joined(stream: StreamFacts): void {
    this.#tell((listener) => listener.joined?.(stream));
  }

  delivered(stream: StreamFacts, index: number, degraded: Degraded): void {
    if (this.#delivered.length === 0) return;
    this.#tell((listener) => listener.delivered?.(stream, index, degraded), this.#delivered);
  }

  refused(request: RefusedRequest): void {
    this.#tell((listener) => listener.refused?.(request));
  }

  released(stream: StreamFacts, first: number, count: number): void {
    this.#tell((listener) => listener.released?.(stream, first, count));
  }

  dropped(stream: StreamFacts, first: number, count: number, error: KeyweaveError): void {
    this.#tell((listener) => listener.dropped?.(stream, first, count, error));
  }

  degraded(stream: StreamFacts, first: number, count: number, how: Degraded): void {
    this.#tell((listener) => listener.degraded?.(stream, first, count, how));
  }

  expired(stream: StreamFacts): void {
    this.#tell((listener) => listener.expired?.(stream));
  }

  closed(stream: StreamFacts, why: string): void {
    this.#tell((listener) => listener.closed?.(stream, why));
  }

  #tell(tell: (listener: StreamListener) => void, listeners = this.#listeners): void {
    for (const listener of listeners) {
      try {
        tell(listener);
      } catch (thrown) {
        this.#onFault(thrown);
      }
    }
  }
}
