import type { NodeConfig } from '#common/config/node-config.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../clients/node-services.ts';
import type { MemoryStreamStore } from '../store/memory-stream-store.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';
import { InitiatorOpening } from './initiator-opening.ts';
import { ResponderOpening } from './responder-opening.ts';
import { StreamFactory } from './stream-factory.ts';
import type { InitiatorWish, StreamWish } from './stream-wish.ts';

export interface RendezvousOptions {
  config: NodeConfig;
  services: NodeServices;
  registry: MemoryStreamStore;
}

/**
 * Brings the applications of both ends together: by KSID, or by identical
 * (source, destination), first come first served. Each role has its half.
 */
export class Rendezvous {
  readonly #initiator: InitiatorOpening;
  readonly #responder: ResponderOpening;
  readonly #factory: StreamFactory;

  constructor({ config, services, registry }: RendezvousOptions) {
    const factory = new StreamFactory(config, services, registry);
    this.#factory = factory;
    this.#initiator = new InitiatorOpening(services, registry, factory);
    this.#responder = new ResponderOpening(config, services, registry, factory);
  }

  /** Offers the stream to the peer and waits for its application. */
  openAsInitiator(wish: InitiatorWish): Promise<KeyStream> {
    return this.#initiator.open(wish);
  }

  /** Joins the oldest open offer, or waits for one. */
  openAsResponder(wish: StreamWish): Promise<KeyStream> {
    return this.#responder.open(wish);
  }

  /** Whether this node's policy lets a shared_seed stand in for a source towards a peer. */
  mayDegrade(peerNode: string): boolean {
    return this.#factory.mayDegrade(peerNode);
  }

  /** KeyAgreement.Open at the responder. */
  offered(request: OpenRequest, terms: StreamTerms, peerNode: string): OpenResponse {
    return this.#responder.offered(request, terms, peerNode);
  }

  /** KeyAgreement.Join at the initiator: whether the application still waits. */
  joinedByPeer(stream: KeyStream): boolean {
    return this.#initiator.joinedByPeer(stream);
  }

  /** When the OPEN_CONNECT of the initiator's stream is over; undefined where it is already. */
  openingOver(stream: KeyStream): Promise<void> | undefined {
    return this.#initiator.over(stream);
  }

  /** Tells the application that waits for an offer of `peerNode` why it was refused. */
  refuseWaiting(offer: OpenRequest, peerNode: string, error: unknown): void {
    this.#responder.refuseWaiting(offer, peerNode, error);
  }

  /** Ends what runs by itself. */
  stop(): void {
    this.#responder.stop();
  }
}
