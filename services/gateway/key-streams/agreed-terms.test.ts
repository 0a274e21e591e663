import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type CallContext, Metadata } from 'nice-grpc';
import { isReason } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { PROTOCOL_VERSION } from '#common/lifecycle/version.ts';
import { OpenRequest, OpenResponse, type SourceSlot } from '#gen/keyweave/v1/key_agreement.ts';
import { createAgreementService } from '../agreement-service.ts';
import type { NodeServices } from '../sources/node-services.ts';
import type { Rendezvous } from './rendezvous.ts';
import type { StreamRegistry } from './stream-registry.ts';
import { type StreamTerms, slotOf } from './stream-terms.ts';

const A = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const B = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';

/** What the node's own policy says, the terms that were taken, and what the waiting application was told. */
let mayDegrade: boolean;
let taken: StreamTerms | undefined;
let told: unknown;

beforeEach(() => {
  mayDegrade = true;
  taken = undefined;
  told = undefined;
});

const service = createAgreementService({
  nodeUuid: B,
  services: {} as NodeServices,
  registry: {} as StreamRegistry,
  rendezvous: {
    mayDegrade: () => mayDegrade,
    offered: (_request: OpenRequest, terms: StreamTerms) => {
      taken = terms;
      return OpenResponse.fromPartial({ joined: true });
    },
    refuseWaiting: (_offer: OpenRequest, _peer: string, error: unknown) => {
      told = error;
    },
  } as unknown as Rendezvous,
  assertUsable: async () => undefined,
});

const standIn = (sharedSecretBytes = 32): SourceSlot => ({
  ...{ algorithm: 'SHARED-SEED', revision: '', publicKeyBytes: 0, ciphertextBytes: 0 },
  sharedSecretBytes,
});

interface Offered {
  query?: string;
  method?: string;
  slots?: readonly (string | SourceSlot)[];
  allowDegraded?: boolean;
}

async function open({ query = '', method = 'hkdf-sha384', slots = [], allowDegraded = true }: Offered) {
  const request = OpenRequest.fromPartial({
    protocolVersion: PROTOCOL_VERSION,
    keyStreamId: Buffer.alloc(16, 1),
    source: `hybrid://app@${A}${query}`,
    destination: `hybrid://app@${B}${query}`,
    method,
    slots: slots.map((slot) => (typeof slot === 'string' ? slotOf(slot) : slot)),
    qos: { keyChunkSize: 32 },
    allowDegraded,
  });
  const metadata = Metadata({ [PEER_METADATA]: A });
  await service.open(request, { metadata } as unknown as CallContext);
  return taken?.slots.map((slot) => slot.algorithm);
}

/** Refused with ETSI status 7, in words that the waiting application at this end is told, too. */
async function refuses(offer: Offered, ...words: string[]): Promise<void> {
  await assert.rejects(open(offer), (error: Error) => {
    assert.ok(isReason(error, 'REVISION_MISMATCH', 'UNSUPPORTED'), `${error}`);
    for (const word of words) assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
    assert.equal(told, error);
    return true;
  });
  assert.equal(taken, undefined);
}

describe("an offer beside the application's URI", () => {
  const QUERY = '?hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD';

  it('is taken where it says the same', async () => {
    assert.deepEqual(await open({ query: QUERY, slots: ['ML-KEM-768', 'QKD'] }), ['ML-KEM-768', 'QKD']);
    assert.equal(taken?.method.name, 'hkdf-sha384');
    const seeds = '?hybridization=XORing&kem_mec=ml-kem-786';
    assert.deepEqual(await open({ query: seeds, method: 'xoring', slots: ['ML-KEM-768', 'QKD'] }), [
      'ML-KEM-768',
      'QKD',
    ]);
  });

  it('is refused with both readings where it says anything else', async () => {
    const said = "the application's URI says hkdf-sha384 of ML-KEM-768, QKD";
    const cases: [Offered, string][] = [
      [{ method: 'xorhmac', slots: ['QKD'] }, 'xorhmac of QKD'],
      [{ method: 'hkdf-sha256', slots: ['ML-KEM-768', 'QKD'] }, 'hkdf-sha256 of ML-KEM-768, QKD'],
      [{ slots: ['QKD', 'ML-KEM-768'] }, 'hkdf-sha384 of QKD, ML-KEM-768'],
      [{ slots: ['ML-KEM-512', 'QKD'] }, 'hkdf-sha384 of ML-KEM-512, QKD'],
      [{ slots: ['ML-KEM-768'] }, 'hkdf-sha384 of ML-KEM-768'],
      [{ slots: ['ML-KEM-768', 'QKD', 'QKD'] }, 'hkdf-sha384 of ML-KEM-768, QKD, QKD'],
      [{ slots: [] }, 'hkdf-sha384 of no source'],
      [{ method: 'rot13', slots: ['ML-KEM-768', 'QKD'] }, '"rot13" of ML-KEM-768, QKD'],
    ];
    for (const [offer, reading] of cases)
      await refuses({ query: QUERY, ...offer }, said, `the offer of node ${A} says ${reading}`);
  });

  it('counts for what the URI leaves out, and only for that', async () => {
    assert.deepEqual(await open({ method: 'hkdf-sha256', slots: ['QKD'] }), ['QKD']);
    const methodOnly = '?hybridization=hkdf-sha256';
    assert.deepEqual(await open({ query: methodOnly, method: 'hkdf-sha256', slots: ['QKD'] }), ['QKD']);
    taken = undefined;
    await refuses({ query: methodOnly, method: 'hkdf-sha384', slots: ['QKD'] }, 'hkdf-sha256 of QKD');
    const sourcesOnly = '?key_sources=QKD,QKD';
    assert.deepEqual(await open({ query: sourcesOnly, method: 'xoring', slots: ['QKD', 'QKD'] }), [
      'QKD',
      'QKD',
    ]);
    taken = undefined;
    await refuses({ query: sourcesOnly, method: 'xoring', slots: ['QKD'] }, 'xoring of QKD, QKD');
  });

  it('is refused where the URI itself is not to be opened', async () => {
    await refuses(
      { query: '?hybridisation=xoring', slots: ['QKD', 'ML-KEM-768'] },
      'did you mean hybridization?',
    );
    await refuses({ slots: [] }, 'no key source is named');
  });
});

describe('an offer of a method that needs two distinct secrets, of one source', () => {
  for (const method of ['xoring', 'hmac', 'xorhmac']) {
    it(`${method}: is taken only with the stand-in as its last slot, and where both policies let it`, async () => {
      assert.deepEqual(await open({ method, slots: ['QKD', standIn()] }), ['QKD', 'SHARED-SEED']);
      const query = `?hybridization=${method}&key_sources=HQC-128`;
      assert.deepEqual(await open({ query, method, slots: ['HQC-128', standIn(64)] }), [
        'HQC-128',
        'SHARED-SEED',
      ]);
      taken = undefined;
      const words = [`${method} needs two distinct secrets`, 'hkdf-sha384', 'policy.missing_source'];
      await refuses({ method, slots: ['QKD'] }, ...words);
      await refuses({ query, method, slots: ['HQC-128'] }, ...words);
      await refuses({ method, slots: ['QKD', standIn()], allowDegraded: false }, ...words, `node ${A}`);
      mayDegrade = false;
      await refuses({ method, slots: ['QKD', standIn()] }, ...words, `node ${B}`);
    });
  }

  it('is not what any other list may have', async () => {
    for (const offer of [
      { method: 'hkdf-sha384', slots: ['QKD', standIn()] },
      { method: 'xoring', slots: ['QKD', 'ML-KEM-768', standIn()] },
      { method: 'xoring', slots: [standIn(), 'QKD'] },
      { method: 'xoring', slots: [standIn(), standIn()] },
      { method: 'xoring', slots: [standIn()] },
      { method: 'xoring', slots: ['QKD', standIn(64)] },
      { method: 'xoring', slots: ['QKD', { ...standIn(), publicKeyBytes: 1 }] },
    ])
      await refuses(offer);
  });
});
