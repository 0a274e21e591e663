import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { parseStreamTerms } from '../streams/stream-terms.ts';
import { RefusedOffers } from './refused-offers.ts';

const PEER = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const OTHER = 'cccccccc-cccc-cccc-cccc-cccccccccccc';
const KSID = '11111111-1111-4111-8111-111111111111';
const DESTINATION = 'hybrid://app@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';

let clock: FakeClock;
let refused: RefusedOffers;
beforeEach(() => {
  clock = new FakeClock();
  refused = new RefusedOffers(clock);
});

const source = (name: string, node = PEER) => `hybrid://${name}@${node}`;
const offer = (name: string, predefined = false) =>
  OpenRequest.fromPartial({ source: source(name), destination: DESTINATION, predefined });
const awaited = (name: string, ksid?: string, node = PEER) => ({
  terms: parseStreamTerms(source(name, node), DESTINATION, { method: 'hkdf-sha384', keySources: ['QKD'] }),
  ksid,
});

describe('RefusedOffers', () => {
  it('tells the next application of the same pair, once', () => {
    refused.note(offer('a'), KSID, PEER, 'why');
    assert.equal(refused.take(awaited('b')), undefined);
    assert.equal(refused.take(awaited('a')), 'why');
    assert.equal(refused.take(awaited('a')), undefined);
  });

  it('tells of each pair by itself, whose URIs are both the same', () => {
    const elsewhere = { ...offer('a'), destination: `${DESTINATION}?kem_mec=HQC-128` };
    refused.note(offer('a'), KSID, PEER, 'why');
    refused.note(elsewhere, KSID, PEER, 'why elsewhere');
    refused.note(offer('b'), KSID, PEER, 'why b');
    refused.forget(elsewhere, PEER);
    assert.equal(
      refused.take({ ...awaited('a'), terms: { ...awaited('a').terms, destination: elsewhere.destination } }),
      undefined,
    );
    assert.deepEqual([refused.take(awaited('a')), refused.take(awaited('b'))], ['why', 'why b']);
  });

  it('tells who names the KSID of a predefined stream, and nobody else', () => {
    refused.note(offer('a', true), KSID, PEER, 'why');
    assert.equal(refused.take(awaited('a')), undefined);
    assert.equal(refused.take(awaited('a', KSID.replace('1', '2'))), undefined);
    assert.equal(refused.take(awaited('a', KSID)), 'why');
  });

  it('believes a peer for the applications of its own node only', () => {
    const foreign = OpenRequest.fromPartial({ source: source('a', OTHER), destination: DESTINATION });
    refused.note(foreign, KSID, PEER, 'why');
    assert.equal(refused.take(awaited('a', undefined, OTHER)), undefined);
  });

  it('forgets after 10 s, and when the peer offers anew what can be taken', async () => {
    refused.note(offer('a'), KSID, PEER, 'why');
    refused.forget(offer('a'), PEER);
    assert.equal(refused.take(awaited('a')), undefined);
    refused.note(offer('a'), KSID, PEER, 'why');
    refused.note(offer('b'), KSID, PEER, 'why b');
    await clock.advance(9_999);
    assert.equal(refused.take(awaited('b')), 'why b');
    await clock.advance(1);
    assert.equal(refused.take(awaited('a')), undefined);
  });

  it('holds one refusal of a pair and 64 of a peer', () => {
    refused.note(offer('a'), KSID, PEER, 'first');
    refused.note(offer('a'), KSID, PEER, 'second');
    assert.equal(refused.take(awaited('a')), 'second');
    assert.equal(refused.take(awaited('a')), undefined);
    for (let i = 0; i < 100; i++) refused.note(offer(`a${i}`), KSID, PEER, i);
    assert.deepEqual(
      [0, 35, 36, 99].map((i) => refused.take(awaited(`a${i}`))),
      [undefined, undefined, 36, 99],
    );
  });
});
