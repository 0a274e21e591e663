import assert from 'node:assert/strict';
import { createHash, createHmac, hkdfSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { confirmationTags } from './confirmation.ts';
import { createHkdfMethod } from './methods/hkdf.ts';

/**
 * What goes over the wire and what both nodes derive, written down a second
 * time with the run time's own HKDF and HMAC: two releases must agree.
 */
const SECRETS = [Buffer.alloc(32, 1), Buffer.alloc(16, 2), Buffer.alloc(32, 3)];
const CONTEXT = Buffer.from('the context of a chunk');

const u32 = (value: number) => Buffer.from([0, 0, 0, value]);
const ikm = Buffer.concat(SECRETS.flatMap((secret) => [u32(secret.length), secret]));
const transcript = createHash('sha256').update(CONTEXT).digest();

describe('the confirmation tags', () => {
  it('are HMACs of role and transcript under a key of their own', () => {
    const info = Buffer.concat([Buffer.from('keyweave v1 confirmation key'), transcript]);
    const key = Buffer.from(hkdfSync('sha256', ikm, 'keyweave v1 confirmation', info, 32));
    const tag = (role: string) => createHmac('sha256', key).update(role).update(transcript).digest('hex');
    const tags = { initiatorTag: Buffer.alloc(32), responderTag: Buffer.alloc(32) };
    confirmationTags(SECRETS, CONTEXT, tags);
    assert.equal(tags.initiatorTag.toString('hex'), tag('initiator'));
    assert.equal(tags.responderTag.toString('hex'), tag('responder'));
  });
});

describe('the HKDF methods', () => {
  for (const hash of ['sha256', 'sha384', 'sha3-256'] as const) {
    it(`hkdf-${hash} is HKDF over the length-prefixed secrets, bound to the context`, () => {
      const info = Buffer.concat([Buffer.from('keyweave v1 output key'), CONTEXT]);
      const expected = Buffer.from(hkdfSync(hash, ikm, 'keyweave v1 hybridization', info, 200));
      const out = Buffer.alloc(200);
      createHkdfMethod(`hkdf-${hash}`, hash).derive(SECRETS, CONTEXT, out);
      assert.equal(out.toString('hex'), expected.toString('hex'));
    });
  }
});
