import assert from 'node:assert/strict';
import type { X509Certificate } from 'node:crypto';
import { describe, it } from 'node:test';
import { parseSpiffeId, spiffeId, spiffeIdOfCertificate } from '#common/tls/spiffe.ts';

const UUID = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa';
const GATEWAY = `spiffe://keyweave/node/${UUID}/gateway`;

describe('SPIFFE ids', () => {
  it('name network, node and service, and are read back', () => {
    assert.equal(spiffeId('keyweave', UUID, 'gateway'), GATEWAY);
    assert.deepEqual(parseSpiffeId(GATEWAY), { network: 'keyweave', nodeUuid: UUID, service: 'gateway' });
  });

  for (const text of [
    '',
    'gateway',
    `https://keyweave/node/${UUID}/gateway`,
    `xspiffe://keyweave/node/${UUID}/gateway`,
    `${GATEWAY}/more`,
    `${GATEWAY} `,
    `spiffe://keyweave/node/${UUID}/`,
    `spiffe:///node/${UUID}/gateway`,
    `spiffe://keyweave/node/${UUID.toUpperCase()}/gateway`,
    `spiffe://keyweave/node/${UUID.slice(1)}/gateway`,
    `spiffe://keyweave/host/${UUID}/gateway`,
  ]) {
    it(`are not ${JSON.stringify(text)}`, () => assert.equal(parseSpiffeId(text), undefined));
  }
});

describe('the SPIFFE id of a certificate', () => {
  const of = (subjectAltName: string | undefined) =>
    spiffeIdOfCertificate({ subjectAltName } as X509Certificate);

  it('is its one URI, wherever that stands among the names', () => {
    assert.equal(of(`URI:${GATEWAY}`), GATEWAY);
    assert.equal(of(`DNS:gateway, URI:${GATEWAY}, IP Address:10.0.0.1`), GATEWAY);
  });

  it('is nobody where there is none, more than one, or one that is not of our form', () => {
    for (const names of [
      undefined,
      '',
      'DNS:gateway',
      `DNS:${GATEWAY}`,
      'URI:https://example.org',
      `URI:${GATEWAY}, URI:${GATEWAY}`,
      `URI:https://example.org, URI:${GATEWAY}`,
      `URI:"${GATEWAY}"`,
      `DNS:"x, URI:${GATEWAY}"`,
    ])
      assert.equal(of(names), undefined, `${names}`);
  });
});
