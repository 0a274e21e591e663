import type { Secret } from '#common/crypto/secret.ts';
import type { QualityOfService } from '../quality-of-service.ts';

/** How long a call may take, from the connection to its answer, and what ends it before. */
export interface CallLimit {
  /** Of the connection, where there is none yet, milliseconds. */
  readonly connectMs: number;
  /** Of the answer, milliseconds. */
  readonly answerMs: number;
  /** A call that it ends rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface OpenWish {
  readonly source: string;
  readonly destination: string;
  readonly qos: QualityOfService;
  /** UUID; absent: the nodes make one, or join the other application's. */
  readonly ksid?: string | undefined;
}

export interface OpenedAnswer {
  readonly ksid: string;
  readonly qos: QualityOfService;
  /** What of the asked QoS was adjusted, in words (status 7); undefined = nothing. */
  readonly adjusted: string | undefined;
}

export interface KeyWish {
  readonly ksid: string;
  /** Absent: the next one that this end has not taken. */
  readonly index?: number | undefined;
  /** What was agreed on. */
  readonly qos: QualityOfService;
}

export interface KeyAnswer {
  /** Undefined where the node does not tell it. */
  readonly index: number | undefined;
  /** The caller's. */
  readonly key: Secret;
  readonly metadata: string;
}

/**
 * One stream's way to a node, in one of the protocols. One call at a time; the
 * connection is made when a call needs it, and made anew once it is lost. All
 * calls reject with KeyStreamError, or with the reason of the signal.
 */
export interface Line {
  open(wish: OpenWish, limit: CallLimit): Promise<OpenedAnswer>;
  getKey(wish: KeyWish, limit: CallLimit): Promise<KeyAnswer>;
  close(ksid: string, limit: CallLimit): Promise<void>;
  /** Ends the connection and wipes what is held; what is under way fails. */
  end(): void;
}

/** A node as one protocol reaches it. */
export interface Transport {
  line(): Line;
  /** Ends what lines share; each line has been ended before. */
  end(): void;
}
