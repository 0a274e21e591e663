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
    before: 'isRight && equalBytes(held.initiatorTags, initiatorTags)',
    after: 'isRight',
    seed: 3,
  },
  {
    what: 'sources are left out that the policy of one end wants',
    file: `${G}streams/policy/lacking.ts`,
    before: '{ qkd: one.qkd && other.qkd, pqc: one.pqc && other.pqc }',
    after: '{ qkd: one.qkd || other.qkd, pqc: one.pqc || other.pqc }',
    seed: 13,
  },
  {
    what: 'the responder leaves out whatever the initiator says',
    file: `${G}production/responder/held-batches.ts`,
    before: 'if (kind !== undefined && leeway.mayLack[kind] && standIn === undefined) return;',
    after: 'if (kind !== undefined || leeway !== undefined) return;',
    seed: 77,
  },
  {
    what: 'what is left out is woven all the same at one end',
    file: `${G}production/responder/responder-round.ts`,
    before: 'const leftOut = kindOfMask(stream.terms, offer.leftOut ?? 0);',
    after:
      "const leftOut = kindOfMask(stream.terms, offer.leftOut ?? 0) === 'qkd' ? ('pqc' as const) : undefined;",
    seed: 15,
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
    what: 'a QKD stream stays open when nobody needs it any more',
    file: `${G}reservoirs/reservoirs.ts`,
    before: "this.#initiators.delete(farNode);\n        reservoir.end('the link is idle');",
    after: 'this.#initiators.delete(farNode);',
    seed: 2,
  },
  {
    what: 'the QKD keys of a batch that failed are neither kept nor burned',
    file: `${G}production/initiator/qkd-portion.ts`,
    before: 'if (taken === 0) this.#reservoir.giveBack(grant);',
    after: 'if (taken === 0) return;',
    seed: 1,
  },
  {
    what: 'QKD keys are not wiped where they lay',
    file: `${G}reservoirs/key-runs.ts`,
    before: 'piece.fill(0);',
    after: '',
    seed: 1,
  },
  {
    what: 'the bytes held for a peer have no limit',
    file: `${G}streams/key-stream.ts`,
    before: 'const room = Math.floor(this.#held.room / this.#qos.keyChunkSize);',
    after: 'const room = 100_000;',
    seed: 213,
  },
  {
    what: 'an index far ahead makes room for all that lies before it',
    file: `${G}streams/key-stream.ts`,
    before: 'this.buffer.waitingBelow(next + this.buffer.waitingBelow(0) + 1);',
    after: 'this.buffer.waiting + 0 * next;',
    seed: 94,
  },
  {
    what: 'a batch that failed leaves its stream waiting for an answer',
    file: `${G}production/initiator/initiator-producer.ts`,
    before: 'if (made === 0) this.#offerIsOver();',
    after: 'if (made === 0) void this;',
    seed: 75,
  },
  {
    what: 'an index is offered again after its batch has failed',
    file: `${G}streams/index-ledger.ts`,
    before: 'if (!released) return;',
    after: 'if (!released) this.#next = Math.min(this.#next, first);\n    if (!released) return;',
    seed: 1,
  },
  {
    what: 'two batches share an index',
    file: `${G}streams/index-ledger.ts`,
    before: 'this.#open.add(first);\n    this.#next = first + count;\n    return first;',
    after: 'this.#open.add(first);\n    this.#next = first + Math.max(1, count - 1);\n    return first;',
    seed: 3,
  },
  {
    what: 'a batch that is over is still taken to be coming',
    file: `${G}production/initiator/initiator-producer.ts`,
    before: 'this.#coming -= count;',
    after: '',
    seed: 15,
  },
  {
    what: 'a batch is released behind a later one, since the peer says so',
    file: `${G}streams/index-ledger.ts`,
    before: 'if (released >= first) return false;',
    after: 'if (released >= first) continue;',
    seed: 1_444_605_041,
  },
];
