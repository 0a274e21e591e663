import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { shownCertificate } from './shown-certificate.ts';

/** A call over that session; counts how often the transport is asked for the certificate. */
function callOver(session: object | undefined, raw: Buffer | undefined) {
  const asked = { times: 0 };
  const call = {
    stream: { session },
    getAuthContext: () => {
      asked.times += 1;
      return { sslPeerCertificate: raw && { raw } };
    },
  } as unknown as ServerInterceptingCallInterface;
  return { call, asked };
}

const ALICE = Buffer.from([0x30, 0x82, 0xff]);
const BOB = Buffer.from([0x30, 0x82, 0xfe]);

describe('the certificate that a caller has shown', () => {
  it('is asked for once for each session', () => {
    const session = {};
    const first = callOver(session, ALICE);
    assert.deepEqual(shownCertificate(first.call), { raw: ALICE, key: '\x30\x82\xff' });
    const second = callOver(session, ALICE);
    assert.deepEqual(shownCertificate(second.call)?.raw, ALICE);
    assert.deepEqual([first.asked.times, second.asked.times], [1, 0]);
  });

  it('is never that of another session', () => {
    assert.equal(shownCertificate(callOver({}, ALICE).call)?.raw, ALICE);
    assert.equal(shownCertificate(callOver({}, BOB).call)?.raw, BOB);
    assert.equal(shownCertificate(callOver({}, undefined).call), undefined);
  });

  it('is asked for again where there was none, and where the session is not known', () => {
    const session = {};
    assert.equal(shownCertificate(callOver(session, undefined).call), undefined);
    assert.equal(shownCertificate(callOver(session, ALICE).call)?.raw, ALICE);
    const unknown = callOver(undefined, BOB);
    for (let i = 0; i < 2; i++) assert.equal(shownCertificate(unknown.call)?.raw, BOB);
    assert.equal(unknown.asked.times, 2);
  });
});
