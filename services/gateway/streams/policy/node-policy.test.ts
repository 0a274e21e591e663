import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PolicyLayer } from '#common/policy/policy-layers.ts';
import { policySection, SOURCE_POLICIES, type SourcePolicy } from '#common/policy/policy-section.ts';
import { ALICE, BOB, keyStream, termsOf } from '#test/helpers/streams.ts';
import type { StreamTerms } from '../stream-terms.ts';
import { bothLet, type MayLack } from './lacking.ts';
import { NodePolicy } from './node-policy.ts';

const HYBRID = termsOf('hkdf-sha384', ['ML-KEM-768', 'QKD']);

const policyOf = (policy: object) => new NodePolicy(ALICE, policySection.parse(policy));
const listenerOf = (policy: Omit<PolicyLayer, 'path'>): PolicyLayer => ({
  path: 'listeners.json.policy',
  ...policy,
});
const kinds = ({ qkd, pqc }: MayLack) => [qkd && 'qkd', pqc && 'pqc'].filter((kind) => kind !== false).join();
const lackOf = (policy: object, terms: StreamTerms = HYBRID, listener?: PolicyLayer) =>
  kinds(policyOf(policy).mayLack(terms, BOB, listener));

/** What each policy lets be left out. */
const LACKS: Readonly<Record<SourcePolicy, string>> = {
  all: '',
  'qkd-required': 'pqc',
  'pqc-required': 'qkd',
  any: 'qkd,pqc',
};

describe('a policy by name', () => {
  it('lets be left out what it does not require, and nothing where none is named', () => {
    assert.equal(lackOf({}), '');
    for (const sources of SOURCE_POLICIES) assert.equal(lackOf({ sources }), LACKS[sources], sources);
  });

  it('is the strictest of node, peer and listener, and of both ends', () => {
    const both = (one: string, other: string) =>
      one
        .split(',')
        .filter((kind) => other.split(',').includes(kind))
        .join();
    for (const sources of SOURCE_POLICIES) {
      for (const other of SOURCE_POLICIES) {
        const expected = both(LACKS[sources], LACKS[other]);
        assert.equal(lackOf({ sources, peers: { [BOB]: { sources: other } } }), expected);
        assert.equal(lackOf({ sources }, HYBRID, listenerOf({ sources: other })), expected);
        const [one, two] = [sources, other].map((name) =>
          policyOf({ sources: name }).mayLack(HYBRID, BOB, undefined),
        );
        assert.equal(kinds(bothLet(one as MayLack, two as MayLack)), expected);
      }
      assert.equal(lackOf({ peers: { [BOB]: { sources } } }), LACKS[sources], 'the peer alone says so');
      assert.equal(lackOf({}, HYBRID, listenerOf({ sources })), '', 'a listener only narrows');
    }
  });

  it('lets nothing be left out where the floor would be lost, whoever has set it', () => {
    const sources = 'any';
    assert.equal(lackOf({ sources, floor: { min_kinds: 2 } }), '');
    assert.equal(lackOf({ sources, peers: { [BOB]: { floor: { min_kinds: 2 } } } }), '');
    assert.equal(lackOf({ sources }, HYBRID, listenerOf({ floor: { min_kinds: 2 } })), '');
    assert.equal(lackOf({ sources, floor: { min_kinds: 1, min_nist_category: 3 } }), 'qkd,pqc');
  });

  it('lets nothing be left out where one secret is not enough, or none would be left', () => {
    const sources = 'any';
    assert.equal(lackOf({ sources }, termsOf('xoring', ['ML-KEM-768', 'QKD'])), '');
    assert.equal(lackOf({ sources }, termsOf('xoring', ['ML-KEM-768', 'QKD', 'QKD'])), 'pqc');
    assert.equal(lackOf({ sources }, termsOf('hkdf-sha384', ['QKD'])), '');
    assert.equal(lackOf({ sources }, termsOf('hkdf-sha384', ['ML-KEM-768'])), '');
  });

  it('refuses a stream that does not name what it requires', () => {
    const refusal = (sources: SourcePolicy, ...names: string[]) => {
      try {
        policyOf({ sources }).assertFloor(termsOf('hkdf-sha384', names), BOB);
        return undefined;
      } catch (error) {
        return (error as { detail: string }).detail;
      }
    };
    assert.equal(
      refusal('qkd-required', 'ML-KEM-768'),
      `policy.sources of node ${ALICE} is qkd-required, and ML-KEM-768 has no QKD`,
    );
    assert.match(refusal('pqc-required', 'QKD') ?? '', /is pqc-required, and QKD has no KEM/);
    for (const sources of ['all', 'any'] as const)
      for (const name of ['QKD', 'ML-KEM-768']) assert.equal(refusal(sources, name), undefined);
  });

  it('lets no seed stand in for QKD where it requires QKD, or two kinds', () => {
    const may = (policy: object, listener?: PolicyLayer) =>
      policyOf(policy).mayReplace(HYBRID, BOB, listener);
    assert.equal(may({}), true);
    for (const sources of SOURCE_POLICIES) assert.equal(may({ sources }), sources !== 'qkd-required');
    assert.equal(may({ floor: { min_kinds: 2 } }), false);
    assert.equal(may({}, listenerOf({ sources: 'qkd-required' })), false);
    assert.equal(
      policyOf({ floor: { min_kinds: 2 } }).mayReplace(termsOf('xoring', ['QKD', 'QKD']), BOB, undefined),
      true,
    );
  });

  it('of a listener narrows the stream of its application, and wipes what lacks more', () => {
    const stream = keyStream({ mayLack: { qkd: true, pqc: true }, allowDegraded: true });
    for (const [first, degraded] of [
      [0, 'qkd'],
      [1, false],
      [2, 'pqc'],
      [3, 'shared_seed'],
    ] as const) {
      stream.indexes.claim(first, 1);
      stream.release(first, Buffer.alloc(32, 1), degraded);
    }
    policyOf({ sources: 'any' }).narrow(stream, undefined);
    assert.equal(stream.buffer.size, 4);
    policyOf({ sources: 'any' }).narrow(stream, listenerOf({ sources: 'qkd-required' }));
    assert.deepEqual([stream.leeway.mayLack, stream.leeway.standIn], [{ qkd: false, pqc: true }, false]);
    assert.deepEqual(
      [stream.buffer.take()?.index, stream.buffer.take()?.index, stream.buffer.size],
      [1, 2, 0],
    );
  });
});
