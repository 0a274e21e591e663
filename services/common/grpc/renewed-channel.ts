import type { Channel } from '@grpc/grpc-js';

/** How long calls that are under way have on the connections that were replaced; as after the longest age of one. */
export const REPLACED_GRACE_MS = 30_000;

/** What clients use of a channel; the class has private members besides. */
type PublicChannel = { [Member in keyof Channel]: Channel[Member] };

/**
 * A channel whose connections are all made anew when the own certificate, or
 * what is trusted, has changed: they would go on with what was shown when they
 * were made, which the other end may refuse by then. Calls that are under way
 * end where they began.
 */
export class RenewedChannel implements PublicChannel {
  readonly #make: () => Channel;
  readonly #unsubscribe: () => void;
  readonly #replaced = new Map<Channel, NodeJS.Timeout>();
  #current: Channel;

  /**
   * @param make makes a channel that shares no connection with one made before.
   * @param onChange calls back after each change; see TlsIdentity.
   */
  constructor(make: () => Channel, onChange: (listener: () => void) => () => void) {
    this.#make = make;
    this.#current = make();
    this.#unsubscribe = onChange(() => this.#replace());
  }

  #replace(): void {
    const old = this.#current;
    this.#current = this.#make();
    const end = () => {
      this.#replaced.delete(old);
      old.close();
    };
    this.#replaced.set(old, setTimeout(end, REPLACED_GRACE_MS).unref());
  }

  createCall(...call: Parameters<Channel['createCall']>): ReturnType<Channel['createCall']> {
    return this.#current.createCall(...call);
  }

  getTarget(): string {
    return this.#current.getTarget();
  }

  getConnectivityState(tryToConnect: boolean): ReturnType<Channel['getConnectivityState']> {
    return this.#current.getConnectivityState(tryToConnect);
  }

  watchConnectivityState(...watch: Parameters<Channel['watchConnectivityState']>): void {
    this.#current.watchConnectivityState(...watch);
  }

  getChannelzRef(): ReturnType<Channel['getChannelzRef']> {
    return this.#current.getChannelzRef();
  }

  close(): void {
    this.#unsubscribe();
    for (const [channel, timer] of this.#replaced) {
      clearTimeout(timer);
      channel.close();
    }
    this.#replaced.clear();
    this.#current.close();
  }
}
