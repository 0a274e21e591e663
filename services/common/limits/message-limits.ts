/**
 * The lists and sizes that one side of an agreement fills and the other
 * limits. A list that the taker refuses would be sent again and refused again,
 * so the filler's cap stands beside the taker's and never exceeds it: what
 * does not fit waits for the next message.
 *
 * | entry | filled by | taken by |
 * |---|---|---|
 * | offers, chunks, cost, bytes | initiator's scheduler, `batchLimit` | responder's round |
 * | confirmations | confirmation outbox, on Produce and Confirm | agreement service |
 * | confirmationBytes | confirmation outbox | what is left of a message beside the offers |
 * | demands | demand messenger | agreement service |
 * | answers, decisions | as many as were asked for; any other number is refused | |
 * | slots | terms of a stream | terms of the offer; hybridizer |
 * | kemItems, kemBytes | `KemGroups` of both ends | pqc-source |
 * | deriveBatches, deriveChunks, deriveBytes | `deriveTogether` | hybridizer |
 * | qkdFetches, qkdKeys, qkdBytes | `fetchTogether` | qkd-source |
 */
export interface Limit {
  /** Most that the side that fills the list puts in. */
  readonly filled: number;
  /** Most that the other side takes. */
  readonly taken: number;
}

const MIB = 1024 * 1024;

export const MESSAGE_LIMITS = {
  /** Offers of one Produce. */
  offers: { filled: 256, taken: 384 },
  /** Chunks of all offers of one Produce; a shared round has far fewer, so that the first need not wait for the last. */
  chunks: { filled: 1024, taken: 1024 },
  /** KEM work of all offers of one Produce, in ML-KEM operations (see `COST_OF_SLOT`). */
  cost: { filled: 1280, taken: 2560 },
  /** Public keys, ciphertexts or keys of all offers of one Produce, bytes; a single chunk may exceed it. */
  bytes: { filled: MIB, taken: 2 * MIB },
  /** Public keys, or ciphertexts, of one chunk, bytes. */
  chunkBytes: { filled: 3 * MIB, taken: 3 * MIB },
  confirmations: { filled: 256, taken: 1024 },
  confirmationBytes: { filled: MIB / 2, taken: MIB / 2 },
  demands: { filled: 256, taken: 1024 },
  /** Slots of one stream. */
  slots: { filled: 16, taken: 16 },
  /** KEM operations of one call, and what goes in or comes out of it. */
  kemItems: { filled: 1024, taken: 1024 },
  kemBytes: { filled: 2 * MIB, taken: 2 * MIB },
  /** Batches of one Derive, chunks of one of them, bytes of the request or the answer. */
  deriveBatches: { filled: 384, taken: 1024 },
  deriveChunks: { filled: 1024, taken: 1024 },
  deriveBytes: { filled: 2 * MIB, taken: 4 * MIB },
  /** Streams of one FetchKeys, keys of one of them, bytes of all. */
  qkdFetches: { filled: 384, taken: 1024 },
  qkdKeys: { filled: 16_384, taken: 16_384 },
  qkdBytes: { filled: MIB, taken: 2 * MIB },
} as const satisfies Record<string, Limit>;

/**
 * Calls of one node's agreement under way at a time: what the gateway keeps to
 * towards one peer, and what brokers and gateways take from, or pass on to,
 * one peer. Each method has its own, so that those that take long leave room
 * for the others; all together they stay below what one session carries.
 */
export const CALL_LIMITS = {
  open: { filled: 64, taken: 128 },
  join: { filled: 64, taken: 128 },
  produce: { filled: 192, taken: 256 },
  confirm: { filled: 4, taken: 16 },
  demand: { filled: 1, taken: 8 },
  close: { filled: 128, taken: 192 },
} as const satisfies Record<string, Limit>;

export type AgreementMethod = keyof typeof CALL_LIMITS;

/** Calls that one HTTP/2 session carries at a time. */
export const SESSION_CALLS = 1024;
