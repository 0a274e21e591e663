import type { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { PolicyLayer } from '#common/policy/policy-layers.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { Owner } from '../streams/owner.ts';

/** OPEN_CONNECT. */
export interface OpenConnect {
  /** URIs of the two applications; of no account where `peer` is given. */
  readonly source: string;
  readonly destination: string;
  /**
   * The node of the other application, where the URIs are in no form that
   * tells it to both ends: the KSID alone names the stream then, and whichever
   * end opens it first leads.
   */
  readonly peer?: string | undefined;
  readonly qos: Qos;
  /** Absent or nil: this node makes one, or joins the peer's. */
  readonly ksid?: string | undefined;
  /** app: wait for the peer's application; node: the peer's node is enough. */
  readonly presence: 'app' | 'node';
  /**
   * Whether the end that leads waits for the peer's node only, whatever
   * `presence` says: where that is `app`, getKey is PEER_APPLICATION_ABSENT
   * until the application has come.
   */
  readonly atOnce?: boolean;
  /** What a URI without a query means. */
  readonly defaults: { readonly method: string; readonly keySources: readonly string[] };
  /** What the listener says of sources, beside the node's policy. */
  readonly policy?: PolicyLayer | undefined;
  /** Whose the stream will be. */
  readonly owner: Owner;
  /** There where a listener opens it by itself (ListenerStreams), to others its names are barred: keys to hold ready, whether or not any are asked for. */
  readonly byListener?: { readonly readyKeys: number };
  /** Fires when the application has gone away. */
  readonly signal: AbortSignal;
}

export interface Opened {
  readonly ksid: string;
  /** What both nodes can meet. */
  readonly qos: Qos;
  /** What of the asked QoS was adjusted, in words; the stream is open all the same (status 7). */
  readonly adjusted: string | undefined;
}

/** GET_KEY. */
export interface GetKey {
  readonly ksid: string;
  /** Absent: the next unread one. */
  readonly index?: number | undefined;
  /** Keys beyond this one that the caller asks for as soon as it has this one, at once and without waiting; 0 where absent. */
  readonly more?: number;
  /** Absent: all of it, however long. */
  readonly metadata?: MetadataRoom | undefined;
  readonly owner: Owner;
  /**
   * Fires when nobody waits for the key any more, at the latest in the turn of
   * the event loop in which nobody could take it: from then on none is taken.
   * A key that is ready at once is given without a look at it.
   */
  readonly signal: AbortSignal;
  /** How much of the stream's timeout has gone by already, milliseconds. */
  readonly waitedMs?: number;
}

export interface MetadataRoom {
  /** Bytes that the metadata may have. */
  readonly room: number;
  /** shorten: the caller gets what fits, and the key always; refuse: MetadataTooSmallError, and no key is taken. */
  readonly whenTooSmall: 'shorten' | 'refuse';
}

export interface Delivered {
  readonly index: number;
  /** The caller's, who wipes it. */
  readonly key: Secret;
  /** JSON in ASCII; empty where none is wanted, or none fits. */
  readonly metadata: string;
}

/** There is less room than the metadata of the next key has; no key was taken (status 8). */
export class MetadataTooSmallError extends KeyweaveError {
  readonly neededBytes: number;

  constructor(neededBytes: number, room: number) {
    super(
      'METADATA_TOO_SMALL',
      `the metadata of this key has ${neededBytes} bytes and there is room for ${room}; the key was not taken`,
    );
    this.neededBytes = neededBytes;
  }
}

/** CLOSE. */
export interface Close {
  readonly ksid: string;
  readonly owner: Owner;
}

/** How a stream of an application stands. */
export interface StreamStatus {
  readonly ksid: string;
  readonly source: string;
  readonly destination: string;
  /** UUID of the other application's node. */
  readonly peer: string;
  readonly peerApplication: 'absent' | 'joined' | 'closed';
  readonly method: string;
  readonly sources: readonly string[];
  readonly qos: Qos;
  /** Keys that are ready at this end. */
  readonly readyKeys: number;
}

/**
 * The three calls of ETSI GS QKD 004 V2.1.1 clause 6.1, free of any protocol:
 * front ends decode, call this, encode. Every failure is a KeyweaveError whose
 * row in STATUS_TABLE says what each protocol calls it. A stream belongs to
 * whoever opened it: to an application with another identity it does not exist.
 */
export interface KeyDelivery {
  /**
   * Resolves when both ends are there, or the peer's node where that is enough.
   *
   * @throws KeyweaveError NO_ROUTE, UNSUPPORTED, BAD_REQUEST, KSID_IN_USE,
   *   TIMEOUT, PEER_UNREACHABLE, REVISION_MISMATCH, LIMIT_EXCEEDED.
   */
  open(request: OpenConnect): Promise<Opened>;

  /**
   * At once where the key is ready, else as soon as it comes, up to the
   * stream's timeout.
   *
   * @throws KeyweaveError at once, or as the promise: UNKNOWN_STREAM,
   *   BAD_REQUEST, TIMEOUT, INSUFFICIENT_KEY, NO_ROOM, METADATA_TOO_SMALL,
   *   PEER_APPLICATION_ABSENT, or the failure of production.
   */
  getKey(request: GetKey): Delivered | Promise<Delivered>;

  /**
   * Wipes this end at once; the peer is told, and keeps what it holds until it
   * closes too.
   *
   * @throws KeyweaveError UNKNOWN_STREAM, BAD_REQUEST.
   */
  close(request: Close): void;
}

/** What an application may look up, beside ETSI's calls. */
export interface StreamDirectory {
  /** @throws KeyweaveError UNKNOWN_STREAM, BAD_REQUEST. */
  status(request: Close): StreamStatus;

  /** The caller's streams, by their KSIDs. */
  streamsOf(owner: Owner): StreamStatus[];

  /** Every KEM by name, with why it cannot be done at this node; empty where it can. @throws KeyweaveError SERVICE_UNAVAILABLE */
  unavailableKems(): Promise<ReadonlyMap<string, string>>;
}
