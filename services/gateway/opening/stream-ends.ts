import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { PeerLinks } from '../clients/peer-link.ts';
import type { StreamStore } from '../store/stream-store.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamEvents } from '../streams/stream-events.ts';

export interface StreamEndsOptions {
  readonly store: StreamStore;
  readonly links: PeerLinks;
  readonly events: Pick<StreamEvents, 'expired'>;
  readonly log: Log;
}

/**
 * How two ends part. Whatever ends a stream at this end, it leaves the store,
 * its keys are wiped at once, and where the other end could still believe in
 * it, that one is told.
 */
export class StreamEnds {
  readonly #store: StreamStore;
  readonly #links: PeerLinks;
  readonly #log: Log;

  constructor({ store, links, events, log }: StreamEndsOptions) {
    this.#store = store;
    this.#links = links;
    this.#log = log;
    store.whenExpired((stream) => {
      events.expired(stream);
      void this.close(stream, 'its TTL has run out');
    });
  }

  /** Closes this end; resolves when the other one has been told, or could not be. */
  async close(stream: KeyStream, reason: string): Promise<void> {
    this.#end(stream, new KeyweaveError('UNKNOWN_STREAM', `this stream has ended: ${reason}`));
    this.#store.ended.note(stream);
    if (stream.peer === 'closed') return;
    try {
      await this.#tell(stream, reason);
    } catch (cause) {
      this.#log.warning('the peer could not be told of a CLOSE', { ksid: stream.id }, cause);
    }
  }

  /** The node at the other end is trusted no more: it is told where it can be, and who asks at this end is told why. */
  distrust(stream: KeyStream): void {
    const { farNode } = stream.route;
    const detail = `this stream has ended: node ${farNode} is not among this node's trusted peers any more`;
    const why = new KeyweaveError('UNKNOWN_STREAM', detail);
    this.#end(stream, why);
    this.#store.ended.note(stream, why);
    this.#tellIfThere(stream, 'this node is trusted no more');
  }

  /** Ends what was never opened; the other end, which may hold an offer of it, is told. */
  withdraw(stream: KeyStream): void {
    this.#end(stream, new KeyweaveError('UNKNOWN_STREAM', 'the stream was never opened'));
    this.#tellIfThere(stream, 'withdrawn');
  }

  /** Ends an offer that nobody here has joined; an initiator that believes otherwise is told. */
  forgetOffer(stream: KeyStream): void {
    this.#end(stream, new KeyweaveError('UNKNOWN_STREAM', 'the offer was withdrawn'));
    if (stream.peer === 'joined') this.#tellIfThere(stream, 'nobody has joined');
  }

  /** The other end has lost its end and begins anew: what is left here belongs to nobody, and who asks is told `why`. */
  supersede(stream: KeyStream, why: KeyweaveError): void {
    this.#end(stream, why);
    this.#store.ended.note(stream, why);
  }

  /** The other end has closed: what an application of this end has of it, it may still read. */
  closedByPeer(stream: KeyStream): void {
    const detail = 'the other end has closed this stream';
    stream.peerClosed(detail);
    if (stream.local === 'joined') return;
    this.#end(stream, new KeyweaveError('UNKNOWN_STREAM', detail));
    this.#store.ended.note(stream);
  }

  #end(stream: KeyStream, error: KeyweaveError): void {
    this.#store.remove(stream);
    stream.end(error);
  }

  #tellIfThere(stream: KeyStream, reason: string): void {
    this.#tell(stream, reason).catch((cause: unknown) => {
      this.#log.debug('the peer could not be told of the end of an offer', { ksid: stream.id }, cause);
    });
  }

  async #tell({ route, idBytes, incarnation }: KeyStream, reason: string): Promise<void> {
    await this.#links.to(route.farNode).close({ keyStreamId: idBytes, incarnation, reason });
  }
}
