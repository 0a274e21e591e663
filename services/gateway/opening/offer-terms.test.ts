import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type CallContext, Metadata } from 'nice-grpc';
import { isReason } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../clients/node-services.ts';
import { createAgreementService } from '../frontends/peer/agreement-service.ts';
import type { MemoryStreamStore } from '../store/memory-stream-store.ts';
import { type StreamTerms, slotOf } from '../streams/stream-terms.ts';
import type { Rendezvous } from './rendezvous.ts';

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
  registry: {} as MemoryStreamStore,
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

const slotNamed = (algorithm: string): SourceSlot => ({ ...slotOf('QKD'), algorithm });

interface Offered {
  query?: string;
  method?: string;
  slots?: readonly (string | SourceSlot)[];
  allowDegraded?: boolean;
  source?: string;
  destination?: string;
  protocolVersion?: number;
}

async function open({ query = '', slots = [], source = A, destination = B, ...others }: Offered) {
  const { method = 'hkdf-sha384', allowDegraded = true, protocolVersion = PROTOCOL_VERSION } = others;
  const request = OpenRequest.fromPartial({
    protocolVersion,
    keyStreamId: Buffer.alloc(16, 1),
    source: `hybrid://app@${source}${query}`,
    destination: `hybrid://app@${destination}${query}`,
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
  return refusesFor(['REVISION_MISMATCH', 'UNSUPPORTED'], offer, ...words);
}

async function refusesFor(
  reasons: Parameters<typeof isReason>[1][],
  offer: Offered,
  ...words: string[]
): Promise<void> {
  await assert.rejects(open(offer), (error: Error) => {
    assert.ok(isReason(error, ...reasons), `${error}`);
    for (const word of words) assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
    assert.equal(told, error);
    return true;
  });
  assert.equal(taken, undefined);
}

describe('an offer', () => {
  it('of another version of the agreement is refused with both', async () => {
    for (const protocolVersion of [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1])
      await refusesFor(
        ['REVISION_MISMATCH'],
        { protocolVersion, slots: ['QKD'] },
        `node ${B} speaks version ${PROTOCOL_VERSION}`,
        `the other node ${protocolVersion}`,
      );
  });

  it('between other nodes than the one that it comes from and this one is refused', async () => {
    const C = 'cccccccc-cccc-cccc-cccc-cccccccccccc';
    for (const nodes of [{ source: C }, { destination: C }]) {
      await assert.rejects(open({ ...nodes, slots: ['QKD'] }), (error) => isReason(error, 'NO_ROUTE'));
      assert.deepEqual([taken, told], [undefined, undefined]);
    }
  });

  it('names its sources in any case and by any name that this node knows', async () => {
    const slots = ['ml-kem-786', 'qkd', 'hqc-1'].map((algorithm) => ({ ...slotOf(algorithm), algorithm }));
    assert.deepEqual(await open({ query: '?key_sources=ML-KEM-768,QKD,HQC-128', slots }), [
      'ML-KEM-768',
      'QKD',
      'HQC-128',
    ]);
  });

  it('of another revision or size of an algorithm is refused with both', async () => {
    const own = slotOf('HQC-128');
    const changes: [Partial<SourceSlot>, string][] = [
      [{ revision: 'hqc-2025' }, "revision 'hqc-2025' of 2249/4433/64 bytes"],
      [{ publicKeyBytes: 2241 }, "revision 'hqc-round4' of 2241/4433/64 bytes"],
      [{ ciphertextBytes: 4417 }, "revision 'hqc-round4' of 2249/4417/64 bytes"],
      [{ sharedSecretBytes: 32 }, "revision 'hqc-round4' of 2249/4433/32 bytes"],
    ];
    for (const [change, words] of changes)
      await refusesFor(
        ['REVISION_MISMATCH'],
        { slots: ['QKD', { ...own, ...change }] },
        `HQC-128 is revision 'hqc-round4' of 2249/4433/64 bytes (public key/ciphertext/secret) at node ${B}`,
        `${words} (public key/ciphertext/secret) at node ${A}`,
      );
  });
});

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
      [{ slots: Array(16).fill('QKD') }, `hkdf-sha384 of ${Array(16).fill('QKD').join(', ')}`],
      [
        { slots: ['HQC-128', ...Array(16).fill('QKD')] },
        `hkdf-sha384 of HQC-128, ${Array(15).fill('QKD').join(', ')}, …`,
      ],
      [{ slots: [slotNamed('ROT-13')] }, 'hkdf-sha384 of ROT-13'],
      [{ method: 'rot13', slots: ['ML-KEM-768', 'QKD'] }, '"rot13" of ML-KEM-768, QKD'],
    ];
    for (const [offer, reading] of cases) {
      await refuses({ query: QUERY, ...offer }, said, `the offer of node ${A} says ${reading}`);
      assert.ok(String(told).endsWith(reading), `${told}`);
    }
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
    const needless = (list: string) => `lets a shared_seed stand in where ${list} needs none`;
    await refuses({ slots: ['QKD', standIn()] }, needless('hkdf-sha384 of QKD'));
    await refuses(
      { method: 'xoring', slots: ['QKD', 'ML-KEM-768', standIn()] },
      needless('xoring of QKD, ML-KEM-768'),
    );
    for (const offer of [
      { method: 'xoring', slots: [standIn(), 'QKD'] },
      { method: 'xoring', slots: [standIn(), standIn()] },
      { method: 'xoring', slots: [standIn()] },
      { method: 'xoring', slots: ['QKD', standIn(64)] },
      { method: 'xoring', slots: ['QKD', { ...standIn(), publicKeyBytes: 1 }] },
    ])
      await refuses(offer);
  });
});
