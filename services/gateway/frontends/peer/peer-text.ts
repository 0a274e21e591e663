import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';

/** Longest of what a peer may say, characters. */
const MAX_URI = 4_096;
const MAX_NAME = 64;
const MAX_MIMETYPE = 256;
const MAX_VERSION = 128;
const MAX_REASON = 256;
const MAX_DETAIL = 4_096;

/** Slots of one offer that are looked at; fewer than that are woven. */
const MAX_SLOTS = 64;

/** @throws KeyweaveError BAD_REQUEST naming what of an offer is longer than anybody needs. */
export function assertOfferText(offer: OpenRequest): void {
  assertText('source', offer.source, MAX_URI);
  assertText('destination', offer.destination, MAX_URI);
  assertText('method', offer.method, MAX_NAME);
  assertText('software_version', offer.softwareVersion, MAX_VERSION);
  assertText('metadata_mimetype', offer.qos?.metadataMimetype ?? '', MAX_MIMETYPE);
  if (offer.refusal) {
    assertText('refusal.reason', offer.refusal.reason, MAX_NAME);
    assertText('refusal.detail', offer.refusal.detail, MAX_DETAIL);
  }
  if (offer.slots.length > MAX_SLOTS) {
    throw new KeyweaveError('BAD_REQUEST', `an offer names at most ${MAX_SLOTS} slots`);
  }
  for (const { algorithm, revision } of offer.slots) {
    assertText('algorithm', algorithm, MAX_NAME);
    assertText('revision', revision, MAX_NAME);
  }
}

/** @throws KeyweaveError BAD_REQUEST */
export function assertCloseText(reason: string): void {
  assertText('reason', reason, MAX_REASON);
}

function assertText(what: string, text: string, max: number): void {
  if (text.length > max) {
    throw new KeyweaveError('BAD_REQUEST', `${what} has ${text.length} characters; at most ${max} are read`);
  }
}
