import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import { ALICE, BOB, offerOf, QOS } from '#test/helpers/openings.ts';
import { assertCloseText, assertOfferText } from './peer-text.ts';

const OFFER = offerOf('app', ALICE, BOB, 1);
const SLOT = OFFER.slots[0] as SourceSlot;
const long = (length: number) => 'x'.repeat(length);

/** What of an offer is limited, in its own words, and an offer in which it has so many characters. */
const LIMITS: [string, number, (length: number) => Partial<OpenRequest>][] = [
  ['source', 4_096, (length) => ({ source: long(length) })],
  ['destination', 4_096, (length) => ({ destination: long(length) })],
  ['method', 64, (length) => ({ method: long(length) })],
  ['software_version', 128, (length) => ({ softwareVersion: long(length) })],
  ['metadata_mimetype', 256, (length) => ({ qos: { ...QOS, metadataMimetype: long(length) } })],
  ['slots', 64, (length) => ({ slots: Array.from({ length }, () => SLOT) })],
  ['algorithm', 64, (length) => ({ slots: [SLOT, { ...SLOT, algorithm: long(length) }] })],
  ['revision', 64, (length) => ({ slots: [SLOT, { ...SLOT, revision: long(length) }] })],
  ['refusal.reason', 64, (length) => ({ refusal: { reason: long(length), detail: '' } })],
  ['refusal.detail', 4_096, (length) => ({ refusal: { reason: '', detail: long(length) } })],
];

const refused = (what: string, max: number) => (error: unknown) =>
  isReason(error, 'BAD_REQUEST') && String(error).includes(what) && String(error).includes(`at most ${max}`);

describe('assertOfferText', () => {
  for (const [what, max, change] of LIMITS) {
    it(`takes ${max} of ${what} and not one more`, () => {
      assertOfferText({ ...OFFER, ...change(max) });
      assert.throws(() => assertOfferText({ ...OFFER, ...change(max + 1) }), refused(what, max));
    });
  }

  it('leaves an offer without QoS to those who look at the QoS', () =>
    assertOfferText({ ...OFFER, qos: undefined }));
});

describe('assertCloseText', () => {
  it('takes 256 characters of reason and not one more', () => {
    assertCloseText(long(256));
    assert.throws(() => assertCloseText(long(257)), refused('reason', 256));
  });
});
