import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import { assertOfferText } from '../../services/gateway/frontends/peer/peer-text.ts';
import { offerTerms } from '../../services/gateway/opening/offer-terms.ts';
import { STAND_IN, slotOf, standInFor } from '../../services/gateway/streams/stream-terms.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const PEER = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const OWN = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';

function offerOf(
  query: string,
  method: string,
  sources: readonly string[],
  more: Partial<OpenRequest> = {},
): Buffer {
  const offer = OpenRequest.fromPartial({
    ...{ protocolVersion: PROTOCOL_VERSION, keyStreamId: Buffer.alloc(16, 1), method, allowDegraded: true },
    ...{ source: `hybrid://a@${PEER}${query}`, destination: `hybrid://b@${OWN}${query}` },
    slots: sources.map((name) => (name === STAND_IN ? standInFor(slotOf('QKD')) : slotOf(name))),
    qos: { keyChunkSize: 32 },
    ...more,
  });
  return Buffer.from(OpenRequest.encode(offer).finish());
}

const SOUND = [
  offerOf('', 'xoring', ['ML-KEM-768', 'QKD']),
  offerOf('?hybridization=hkdf-sha384&key_sources=ML-KEM-1024,QKD', 'hkdf-sha384', ['ML-KEM-1024', 'QKD']),
  offerOf('', 'xorhmac', ['QKD', STAND_IN]),
  offerOf('', 'hmac', ['QKD', 'QKD', 'ML-KEM-512']),
];
const REFUSED = offerOf('', 'xoring', ['QKD'], {
  qos: undefined,
  refusal: { reason: 'UNSUPPORTED', detail: 'why' },
});
const NASTY = corpus('grpc-messages', 'hex');

describe('offers of streams that a peer makes', () => {
  it('are agreed upon as they were made, or refused', () => {
    let agreed = 0;
    const bytes = fc.oneof(fc.constantFrom(...SOUND), mutated([...SOUND, REFUSED]), mutated(NASTY));
    fc.assert(
      fc.property(bytes, fc.boolean(), (given, mayDegrade) => {
        let offer: OpenRequest;
        try {
          offer = OpenRequest.decode(given);
        } catch {
          return;
        }
        onlyKeyweaveErrors(() => {
          assertOfferText(offer);
          const terms = offerTerms(offer, PEER, { nodeUuid: OWN, mayDegrade: () => mayDegrade });
          agreed += 1;
          assert.equal(offer.refusal, undefined);
          assert.deepEqual([terms.sourceNode, terms.destinationNode], [PEER, OWN]);
          assert.ok(terms.slots.length >= 1 && terms.slots.length <= 17);
          assert.deepEqual(
            terms.slots.map(({ sharedSecretBytes }) => sharedSecretBytes),
            offer.slots.map(({ sharedSecretBytes }) => sharedSecretBytes),
          );
        });
      }),
      {
        ...fuzzParameters(20_000),
        examples: [...SOUND, REFUSED, ...NASTY].map((given): [Buffer, boolean] => [given, true]),
      },
    );
    assert.ok(agreed > 0, 'no offer was ever agreed upon');
  });
});
