/** The node of the source URI is the initiator and drives production. */
export type StreamRole = 'initiator' | 'responder';

/** Makes chunks come to one end of a stream: the initiator makes them, the responder asks for them. */
export interface Producer {
  readonly role: StreamRole;
  /** Chunks on their way, not yet in the buffer. */
  readonly coming: number;
  /** Says that `count` more chunks are lacking; never throws, failures reach the waiting GET_KEYs. */
  want(count: number): void;
  /** Stops and wipes whatever is under way; safe to repeat. */
  stop(): void;
}
