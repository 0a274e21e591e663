import { uuidText } from '#common/ids/uuid.ts';
import type {
  BatchAnswer,
  BatchConfirmation,
  BatchOffer,
  ProduceRequest,
  ProduceResponse,
} from '#gen/keyweave/v1/key_agreement.ts';
import type { Wire } from './lying-peer.ts';

/** What was lied about: chunks [first, end) of a stream. */
export type Spoilt = [ksid: string, first: number, end: number][];

function flip(bytes: Uint8Array, at = 0): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
}

const ksidOf = ({ keyStreamId }: { keyStreamId: Uint8Array }) => uuidText('key_stream_id', keyStreamId);

/** The chunks that the responder has made of each offer. */
function note(spoilt: Spoilt, { offers }: ProduceRequest, { answers }: ProduceResponse): void {
  offers.forEach((offer, i) => {
    const made = answers[i]?.failure ? 0 : (answers[i]?.count ?? 0);
    spoilt.push([ksidOf(offer), offer.firstIndex, offer.firstIndex + made]);
  });
}

/** Lies about the whole answer to a Produce. */
function aboutAll(lie: (response: ProduceResponse) => ProduceResponse) {
  return (wire: Wire, spoilt: Spoilt) => {
    wire.lies = {
      produce: async (request, pass) => {
        const response = await pass(request);
        note(spoilt, request, response);
        return lie(response);
      },
    };
  };
}

/** Lies about each answer to an offer. */
function aboutAnswers(lie: (answer: BatchAnswer) => Partial<BatchAnswer>) {
  return aboutAll((response) => ({
    ...response,
    answers: response.answers.map((answer) => (answer.failure ? answer : { ...answer, ...lie(answer) })),
  }));
}

/** Lies about each offer. */
function aboutOffers(lie: (offer: BatchOffer) => Partial<BatchOffer>) {
  return (wire: Wire, spoilt: Spoilt) => {
    wire.lies = {
      produce: async (request, pass) => {
        const offers = request.offers.map((offer) => ({ ...offer, ...lie(offer) }));
        const response = await pass({ ...request, offers });
        note(spoilt, request, response);
        return response;
      },
    };
  };
}

/** Flips a bit of the first tag of every confirmation, whichever way it travels. */
function aboutConfirmations(wire: Wire, spoilt: Spoilt): void {
  const flipped = (list: BatchConfirmation[]) =>
    list.map((one) => {
      if (one.initiatorTags.length === 0) return one;
      spoilt.push([ksidOf(one), one.firstIndex, one.firstIndex + one.count]);
      return { ...one, initiatorTags: flip(one.initiatorTags) };
    });
  wire.lies = {
    produce: (request, pass) => pass({ ...request, confirmations: flipped(request.confirmations) }),
    confirm: (request, pass) => pass({ confirmations: flipped(request.confirmations) }),
  };
}

/** Gives every batch the answer to one that was made before the lies began. */
function aboutOldAnswers(wire: Wire, spoilt: Spoilt): void {
  let old: ProduceResponse | undefined;
  wire.lies = {
    produce: async (request, pass) => {
      const response = await pass(request);
      if (old) note(spoilt, request, response);
      old ??= response;
      return { ...response, answers: old.answers };
    },
  };
}

/** Each makes every batch that goes over the wire fail, whatever else it does. */
export const LIES: readonly [what: string, tell: (wire: Wire, spoilt: Spoilt) => void][] = [
  [
    'one bit of the first tag is wrong',
    aboutAnswers(({ responderTags }) => ({ responderTags: flip(responderTags) })),
  ],
  [
    'one bit of the last tag is wrong',
    aboutAnswers(({ responderTags }) => ({ responderTags: flip(responderTags, responderTags.length - 1) })),
  ],
  ['there are no tags', aboutAnswers(() => ({ responderTags: Buffer.alloc(0) }))],
  [
    'there is a tag too few',
    aboutAnswers(({ responderTags }) => ({ responderTags: responderTags.subarray(32) })),
  ],
  [
    'there is a tag too many',
    aboutAnswers(({ responderTags }) => ({
      responderTags: Buffer.concat([responderTags, Buffer.alloc(32)]),
    })),
  ],
  [
    'the tags are zeros',
    aboutAnswers(({ responderTags }) => ({ responderTags: Buffer.alloc(responderTags.length) })),
  ],
  ['a chunk more is claimed than was asked for', aboutAnswers(({ count }) => ({ count: count + 1 }))],
  ['no chunk is claimed', aboutAnswers(() => ({ count: 0 }))],
  [
    'one bit of a ciphertext is wrong',
    aboutAnswers(({ ciphertexts }) => ({
      ciphertexts: ciphertexts.map((one) => ({ ...one, ciphertexts: flip(one.ciphertexts) })),
    })),
  ],
  ['there are no ciphertexts', aboutAnswers(() => ({ ciphertexts: [] }))],
  [
    'the ciphertexts are for another slot',
    aboutAnswers(({ ciphertexts }) => ({ ciphertexts: ciphertexts.map((one) => ({ ...one, slot: 1 })) })),
  ],
  [
    'the ciphertexts are a byte short',
    aboutAnswers(({ ciphertexts }) => ({
      ciphertexts: ciphertexts.map((one) => ({ ...one, ciphertexts: one.ciphertexts.subarray(1) })),
    })),
  ],
  ['there is no answer for the batch', aboutAll((response) => ({ ...response, answers: [] }))],
  ['the answer is that of another batch', aboutOldAnswers],
  [
    'one bit of a public key is wrong',
    aboutOffers(({ publicKeys }) => ({
      publicKeys: publicKeys.map((one) => ({ ...one, publicKeys: flip(one.publicKeys, 7) })),
    })),
  ],
  ['the batch starts at another index', aboutOffers(({ firstIndex }) => ({ firstIndex: firstIndex + 1 }))],
  ['a stand-in is claimed for the QKD slot', aboutOffers(() => ({ degradedSlot: 2, qkd: undefined }))],
  [
    'the QKD key is claimed to be a later one',
    aboutOffers(({ qkd }) => ({ qkd: qkd && { ...qkd, position: qkd.position + 1n } })),
  ],
  ["one bit of the initiator's tags is wrong", aboutConfirmations],
];
