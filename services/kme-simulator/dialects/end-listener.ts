import type { Server } from 'node:net';
import type { Address } from '#common/config/fields.ts';
import { listen } from '#common/net/listen.ts';

export interface EndListenerOptions {
  make(): Server;
  /** Cuts every connection. */
  cut(server: Server): void;
}

/** Where a key manager listens, which is switched off and on again; see SimulatedEnd. */
export class EndListener {
  readonly #options: EndListenerOptions;
  #server: Server | undefined;
  #address: Address | undefined;

  constructor(options: EndListenerOptions) {
    this.#options = options;
  }

  async start(address: Address): Promise<Address> {
    if (this.#server && this.#address) return this.#address;
    const server = this.#options.make();
    // A connection that cannot be taken is lost; the others go on.
    server.on('error', () => undefined);
    this.#server = server;
    try {
      this.#address = await listen(server, this.#address ?? address);
      return this.#address;
    } catch (error) {
      this.#server = undefined;
      throw error;
    }
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    this.#options.cut(server);
    await closed;
  }
}
