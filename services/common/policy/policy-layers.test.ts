import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { belowFloor, listenerLayer, nodeLayers, type PolicyLayer } from '#common/policy/policy-layers.ts';
import { policySection } from '#common/policy/policy-section.ts';

const PEER = 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb';
const OWN = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa';

const wordsOf = (layers: readonly PolicyLayer[], method: string, ...sources: string[]) =>
  belowFloor(layers, { method, sources })?.inWords(OWN);

const layersOf = (floor: object, path = 'policy') => [{ path, floor }];

describe('a floor', () => {
  it('that says nothing keeps nothing out', () => {
    const silent = nodeLayers(policySection.parse({}));
    for (const sources of [['QKD'], ['ML-KEM-512'], ['ML-KEM-512', 'QKD']])
      assert.equal(wordsOf(silent, 'xoring', ...sources), undefined);
  });

  it('of kinds wants QKD and a KEM, however many there are of one', () => {
    const two = layersOf({ min_kinds: 2 });
    assert.equal(wordsOf(two, 'hkdf-sha384', 'ML-KEM-512', 'QKD'), undefined);
    assert.equal(
      wordsOf(two, 'hkdf-sha384', 'ML-KEM-512', 'HQC-128'),
      `policy.floor.min_kinds of node ${OWN} wants QKD and a KEM, and ML-KEM-512, HQC-128 is of KEMs alone: name QKD, too`,
    );
    assert.match(wordsOf(two, 'hkdf-sha384', 'QKD', 'QKD') ?? '', /is of QKD alone: name a KEM, too/);
    assert.equal(wordsOf(layersOf({ min_kinds: 1 }), 'hkdf-sha384', 'QKD'), undefined);
  });

  it('of a category holds for each KEM, and not for QKD', () => {
    const three = layersOf({ min_nist_category: 3 });
    assert.equal(wordsOf(three, 'hkdf-sha384', 'QKD', 'ML-KEM-768', 'HQC-256'), undefined);
    assert.equal(wordsOf(three, 'hkdf-sha384', 'QKD'), undefined);
    assert.equal(
      wordsOf(three, 'hkdf-sha384', 'ML-KEM-1024', 'HQC-128'),
      `policy.floor.min_nist_category of node ${OWN} is 3, and HQC-128 is of NIST category 1`,
    );
  });

  it('of methods holds whatever the case', () => {
    const few = layersOf({ methods: ['HKDF-SHA384', 'kmac256'] });
    assert.equal(wordsOf(few, 'hkdf-sha384', 'QKD'), undefined);
    assert.equal(
      wordsOf(few, 'xoring', 'QKD', 'ML-KEM-512'),
      `policy.floor.methods of node ${OWN} allows HKDF-SHA384, kmac256, not xoring`,
    );
  });

  it('is the strictest of node, peer and listener, and named by its path', () => {
    const policy = policySection.parse({
      floor: { min_nist_category: 3 },
      peers: { [PEER.toUpperCase()]: { floor: { min_nist_category: 5 } } },
    });
    const listener = listenerLayer('grpc', { floor: { methods: ['kmac256'] } }) as PolicyLayer;
    const of = (peer: string | undefined, method: string, source: string) =>
      belowFloor([...nodeLayers(policy, peer), listener], { method, sources: [source] })?.inWords();
    assert.match(of(PEER, 'kmac256', 'ML-KEM-512') ?? '', /^policy\.floor\.min_nist_category is 3/);
    const ofPeer = new RegExp(`^policy\\.peers\\.${PEER}\\.floor\\.min_nist_category is 5`);
    assert.match(of(PEER, 'kmac256', 'ML-KEM-768') ?? '', ofPeer);
    assert.equal(of(OWN, 'kmac256', 'ML-KEM-768'), undefined);
    assert.match(of(PEER, 'catkdf', 'ML-KEM-1024') ?? '', /^listeners\.grpc\.policy\.floor\.methods allows/);
    assert.equal(listenerLayer('grpc', undefined), undefined);
  });
});

describe('the section of policies', () => {
  it('takes nothing that it does not know', () => {
    for (const wrong of [
      { floor: { methods: ['xor'] } },
      { floor: { methods: [] } },
      { floor: { min_kinds: 3 } },
      { floor: { min_nist_category: 0 } },
      { floor: { min_nist_category: 6 } },
      { floor: { kinds: 1 } },
      { peers: { Bob: {} } },
      { peers: { [PEER]: { missing_source: 'refuse' } } },
    ])
      assert.equal(policySection.safeParse(wrong).success, false, JSON.stringify(wrong));
  });
});
