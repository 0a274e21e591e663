/** A fault of production code that the simulation must find: what stands in a file, and what stands there instead. */
export interface PlantedFault {
  readonly what: string;
  readonly file: string;
  readonly before: string;
  readonly after: string;
  /** A seed that finds it. */
  readonly seed: number;
}

const G = 'services/gateway/';

/** One for each kind of thing that must hold; `make simulate-self-test` plants them one at a time. */
export const PLANTED_FAULTS: readonly PlantedFault[] = [
  {
    what: 'a chunk stays in the buffer when it is taken',
    file: `${G}streams/chunk-buffer.ts`,
    before: 'if (chunk) this.#chunks.delete(chunk.index);',
    after: '',
    seed: 1,
  },
  {
    what: 'the responder releases whatever is confirmed',
    file: `${G}production/responder/held-batches.ts`,
    before: 'held.count === count && equalBytes(held.initiatorTags, initiatorTags)',
    after: 'held.count === count',
    seed: 1,
  },
  {
    what: 'the responder forgets what it has decided',
    file: `${G}streams/index-ledger.ts`,
    before: 'this.#released.add(first);',
    after: '',
    seed: 1,
  },
  {
    what: 'a confirmation whose answer was lost is not repeated',
    file: `${G}production/initiator/confirmations.ts`,
    before: 'if (!final && this.#mayRepeat(entry)) {',
    after: 'if (false) {',
    seed: 1,
  },
  {
    what: 'batches end as they come, not in the order of their indexes',
    file: `${G}production/initiator/initiator-producer.ts`,
    before: 'Promise.allSettled([outcome, before])',
    after: 'Promise.allSettled([outcome])',
    seed: 1,
  },
  {
    what: 'a key goes to an application that has gone',
    file: `${G}streams/chunk-buffer.ts`,
    before: "signal.addEventListener('abort', abandon);",
    after: '',
    seed: 1,
  },
  {
    what: 'a GET_KEY has no limit of time',
    file: `${G}streams/chunk-buffer.ts`,
    before: 'this.#clock.after(timeoutMs, () => {',
    after: 'this.#clock.after(timeoutMs * 1000, () => {',
    seed: 1,
  },
  {
    what: 'the secrets of a derivation are not wiped',
    file: `${G}production/derivation.ts`,
    before: 'wipe(...slots.map((slot) => slot.secrets))',
    after: 'void slots',
    seed: 1,
  },
  {
    what: 'QKD keys that are not needed are not wiped',
    file: `${G}production/slot-inputs.ts`,
    before: 'qkdKeys.fill(0, used);',
    after: '',
    seed: 1,
  },
  {
    what: 'key pairs of a batch that failed stay with pqc-source',
    file: `${G}production/initiator/initiator-round.ts`,
    before: 'this.#tools.kem.discard(unused);',
    after: 'void unused;',
    seed: 1,
  },
  {
    what: 'a piece of a message is kept without a copy',
    file: `${G}streams/key-stream.ts`,
    before: 'this.incarnation = ownCopy(options.incarnation);',
    after: 'this.incarnation = options.incarnation as Buffer;',
    seed: 1,
  },
  {
    what: 'a stream that has ended still counts as held',
    file: `${G}streams/key-stream.ts`,
    before: 'this.buffer.wipe();\n    this.countHeld();',
    after: 'this.buffer.wipe();',
    seed: 1,
  },
  {
    what: 'a QKD stream that has lost step is read on',
    file: `${G}production/initiator/initiator-producer.ts`,
    before: 'if (batch.qkd && !isAftermath) this.qkd.renew();',
    after: '',
    seed: 1,
  },
  {
    what: 'a QKD stream is opened after its key stream has ended',
    file: `${G}clients/qkd-stream.ts`,
    before: 'this.#ended = true;\n    this.close();',
    after: 'this.close();',
    seed: 1,
  },
  {
    what: 'the policy is not asked whether a seed may stand in',
    file: `${G}production/initiator/initiator-recovery.ts`,
    before: 'allowDegraded &&\n',
    after: '\n',
    seed: 1,
  },
  {
    what: 'the responder takes more than it has room for',
    file: `${G}production/responder/held-batches.ts`,
    before: 'if (room < 1) throw noRoom(stream);',
    after: '',
    seed: 1,
  },
  {
    what: 'the bytes held for a peer have no limit',
    file: `${G}streams/key-stream.ts`,
    before: 'return Math.floor(this.#held.room / this.#qos.keyChunkSize) + this.buffer.waiting;',
    after: 'return Number.POSITIVE_INFINITY;',
    seed: 1,
  },
  {
    what: 'a batch that failed leaves its stream waiting for an answer',
    file: `${G}production/initiator/initiator-producer.ts`,
    before: 'if (made === 0) this.#offerIsOver();',
    after: 'if (made === 0) void this;',
    seed: 1,
  },
  {
    what: 'a round that was lost keeps its place for ever',
    file: `${G}production/initiator/round-scheduler.ts`,
    before: 'this.#rounds -= 1;',
    after: 'if (!failure) this.#rounds -= 1;',
    seed: 1,
  },
  {
    what: 'messages of an earlier opening reach the new one',
    file: `${G}frontends/peer/agreement-service.ts`,
    before: '&& stream.incarnation.equals(named.incarnation)',
    after: '',
    seed: 1,
  },
  {
    what: 'the initiator believes any number of chunks',
    file: `${G}production/initiator/initiator-round.ts`,
    before: 'if (count < 1 || count > batch.count) {',
    after: 'if (count < 1) {',
    seed: 1,
  },
  {
    what: 'an index is offered again after its batch has failed',
    file: `${G}streams/index-ledger.ts`,
    before: 'if (!released) return;',
    after: 'if (!released) this.#next = Math.min(this.#next, first);\n    if (!released) return;',
    seed: 1,
  },
];
