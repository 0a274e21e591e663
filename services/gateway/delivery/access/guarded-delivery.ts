import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Clock } from '#common/time/clock.ts';
import { pause } from '#common/time/wait-for.ts';
import { abandonedError } from '../../streams/chunk-buffer.ts';
import type { RefusedRequest, StreamEvents } from '../../streams/stream-events.ts';
import type {
  Close,
  Delivered,
  GetKey,
  KeyDelivery,
  OpenConnect,
  Opened,
  StreamDirectory,
} from '../key-delivery.ts';
import type { ClientAccount } from './client-account.ts';
import type { ClientAccounts } from './client-accounts.ts';
import type { ClientList } from './client-list.ts';

/** For a key that is wanted only if it is ready. */
const NOBODY_WAITS = AbortSignal.abort();

export interface GuardedDeliveryOptions {
  /** Absent: whoever a listener lets in may open streams. */
  readonly list: Pick<ClientList, 'refusal'> | undefined;
  readonly accounts: Pick<ClientAccounts, 'of' | 'ofOpening'>;
  readonly events: Pick<StreamEvents, 'refused'>;
  readonly clock: Pick<Clock, 'monotonicMs' | 'after'>;
}

/**
 * KeyDelivery that opens streams for those alone who may, and gives each
 * client no more than its quota. Streams of a listener, which it shares out
 * among clients of its own, pass.
 */
export class GuardedDelivery implements KeyDelivery {
  readonly #inner: KeyDelivery & Pick<StreamDirectory, 'status'>;
  readonly #o: GuardedDeliveryOptions;

  constructor(inner: KeyDelivery & Pick<StreamDirectory, 'status'>, options: GuardedDeliveryOptions) {
    this.#inner = inner;
    this.#o = options;
  }

  /** @throws KeyweaveError NOT_ALLOWED, LIMIT_EXCEEDED, or as the delivery behind it. */
  async open(request: OpenConnect): Promise<Opened> {
    if (request.byListener) return this.#inner.open(request);
    this.#assertAllowed(request);
    const { accounts } = this.#o;
    const account = this.#told('open', request, () => accounts.ofOpening(request.owner.identity));
    if (!account) return this.#inner.open(request);
    this.#told('open', request, () => account.assertMayOpen());
    return account.opens(this.#inner.open(request));
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED, INSUFFICIENT_KEY, or as the delivery behind it. */
  getKey(request: GetKey): Delivered | Promise<Delivered> {
    const { owner } = request;
    const account = owner.onBehalfOf === undefined ? this.#o.accounts.of(owner.identity) : undefined;
    if (!account) return this.#inner.getKey(request);
    const nowMs = this.#o.clock.monotonicMs();
    const delayMs = account.keys.delayMs(nowMs);
    if (delayMs > 0) return this.#later(account, request, delayMs);
    account.keys.take(nowMs);
    try {
      const given = this.#ask(account, request);
      return given instanceof Promise ? account.waits(this.#orRefunded(account, given)) : given;
    } catch (thrown) {
      account.keys.refund();
      throw thrown;
    }
  }

  close(request: Close): void {
    this.#inner.close(request);
  }

  /** The client learns that it may not, and whoever runs the node what is missing. */
  #assertAllowed(request: OpenConnect): void {
    const missing = this.#told('open', request, () => this.#o.list?.refusal(request));
    if (missing === undefined) return;
    this.#tell('open', request, new KeyweaveError('NOT_ALLOWED', missing));
    throw new KeyweaveError('NOT_ALLOWED', 'this client is not allowed to open this stream');
  }

  /** Asks with the client's token taken; where nothing more of it may wait, only for a key that is ready. */
  #ask(account: ClientAccount, request: GetKey): Delivered | Promise<Delivered> {
    if (account.mayWait) return this.#inner.getKey(request);
    const given = this.#told('getKey', request, () =>
      this.#inner.getKey({ ...request, signal: NOBODY_WAITS }),
    );
    if (!(given instanceof Promise)) return given;
    // It waits for nothing: the signal has fired.
    given.catch(() => undefined);
    const error = account.tooManyWait();
    this.#tell('getKey', request, error);
    throw error;
  }

  /** A key for which the client has no token yet: within the time that the request has, or not at all. */
  async #later(account: ClientAccount, request: GetKey, delayMs: number): Promise<Delivered> {
    const { ksid, owner, signal, waitedMs = 0 } = request;
    const { clock } = this.#o;
    this.#told('getKey', request, () => {
      // Whoever has no such stream learns that at once, as ever.
      const { qos } = this.#inner.status({ ksid, owner });
      if (signal.aborted) throw abandonedError();
      if (delayMs > qos.timeoutMs - waitedMs) throw account.tooManyKeys(delayMs);
      if (!account.mayWait) throw account.tooManyWait();
    });
    account.keys.take(clock.monotonicMs());
    const waits = async () => {
      await pause(delayMs, signal, clock);
      if (signal.aborted) throw abandonedError();
      return this.#inner.getKey({ ...request, waitedMs: waitedMs + delayMs });
    };
    return account.waits(this.#orRefunded(account, waits()));
  }

  async #orRefunded(account: ClientAccount, given: Promise<Delivered>): Promise<Delivered> {
    try {
      return await given;
    } catch (thrown) {
      account.keys.refund();
      throw thrown;
    }
  }

  /** What is refused here, the delivery behind it cannot tell. */
  #told<T>(call: RefusedRequest['call'], request: OpenConnect | GetKey, act: () => T): T {
    try {
      return act();
    } catch (thrown) {
      this.#tell(call, request, KeyweaveError.from(thrown));
      throw thrown;
    }
  }

  /** That an application has gone is nobody's refusal. */
  #tell(call: RefusedRequest['call'], { owner, signal }: OpenConnect | GetKey, error: KeyweaveError): void {
    if (!signal.aborted) this.#o.events.refused({ call, owner, error });
  }
}
