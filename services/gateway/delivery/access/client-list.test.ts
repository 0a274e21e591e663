import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ClientConfig } from '#common/config/access/access-section.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ALICE, BOB, CAROL } from '#test/helpers/openings.ts';
import { type Asked, ClientList } from './client-list.ts';

const BILLING = 'spiffe://qkd.example/client/billing';

const list = new ClientList(
  [
    { identity: BILLING, applications: ['billing', 'hybrid://invoices@*'], peers: [BOB] },
    { identity: 'spiffe://qkd.example/client/*', applications: ['client'] },
    { identity: 'spiffe://qkd.example/client/b*', applications: ['b'], peers: ['*'] },
    { identity: 'anonymous', applications: ['local'] },
    { identity: 'CN:none', applications: [], peers: [] },
    { identity: 'CN:nowhere', applications: ['*'], peers: [] },
  ],
  ALICE,
);

const asked = (identity: string | undefined, change: Partial<Asked> = {}): Asked => ({
  source: `hybrid://billing@${ALICE}?key_sources=QKD`,
  destination: `hybrid://theirs@${BOB}`,
  owner: { identity, address: '192.0.2.1:4000' },
  ...change,
});
const as = (name: string, node: string = BOB) => ({
  source: `hybrid://${name}@${ALICE}`,
  destination: `hybrid://theirs@${node}`,
});

describe('the list of clients', () => {
  it('lets a client open as the applications of its entry, at either end, to the peers of its entry', () => {
    assert.equal(list.refusal(asked(BILLING)), undefined);
    assert.equal(list.refusal(asked(BILLING, as('invoices'))), undefined);
    const responding = { source: `hybrid://theirs@${BOB}`, destination: `hybrid://billing@${ALICE}` };
    assert.equal(list.refusal(asked(BILLING, responding)), undefined);
  });

  it('says what is missing', () => {
    for (const [identity, change, words] of [
      ['spiffe://other/x', {}, /^access\.clients has no entry for "spiffe:\/\/other\/x"$/],
      ['CN:billing', {}, /no entry for "CN:billing"/],
      [BILLING, as('payroll'), /^access\.clients\.0\.applications does not name "hybrid:\/\/payroll@/],
      // The name of the other end is none of its own.
      [BILLING, { source: as('x').source, destination: `hybrid://billing@${BOB}` }, /0\.applications/],
      [
        BILLING,
        as('billing', CAROL),
        new RegExp(`^access\\.clients\\.0\\.peers does not name node ${CAROL}$`),
      ],
      ['CN:none', {}, /access\.clients\.4\.applications/],
      ['CN:nowhere', {}, /access\.clients\.5\.peers/],
    ] as const)
      assert.match(list.refusal(asked(identity, change)) ?? 'none', words, identity);
  });

  it('finds the entry of a client before that of its family, and of families the nearest', () => {
    const indexOf = (identity: string) => list.find(identity)?.path;
    assert.equal(indexOf(BILLING), 'access.clients.0');
    assert.equal(indexOf(`${BILLING}2`), 'access.clients.2');
    assert.equal(indexOf('spiffe://qkd.example/client/archive'), 'access.clients.1');
    assert.equal(indexOf('spiffe://qkd.example/clients'), undefined);
  });

  it('means by "anonymous" those without a certificate alone', () => {
    assert.equal(list.refusal(asked(undefined, as('local'))), undefined);
    assert.match(list.refusal(asked(undefined)) ?? '', /access\.clients\.3\.applications/);
    assert.match(list.refusal(asked('anonymous', as('local'))) ?? '', /no entry for "anonymous"/);
    const all = new ClientList([{ identity: '*', applications: ['*'] }], ALICE);
    assert.equal(all.refusal(asked('CN:anybody')), undefined);
    assert.match(all.refusal(asked(undefined)) ?? '', /no entry for "anonymous"/);
  });

  it('takes the source for the application where the other node is named beside the URIs', () => {
    const named = (source: string, peer = BOB) =>
      asked(BILLING, { source, destination: 'server://bob', peer });
    assert.equal(list.refusal(named('client://billing')), undefined);
    assert.match(list.refusal(named('client://other')) ?? '', /0\.applications/);
    assert.match(list.refusal(named('')) ?? '', /0\.applications does not name ""/);
    assert.match(list.refusal(named('client://billing', CAROL)) ?? '', /0\.peers/);
  });

  it('denies everybody where it is empty, whatever they ask for', () => {
    const empty = new ClientList([] satisfies ClientConfig[], ALICE);
    for (const identity of [BILLING, undefined])
      assert.match(empty.refusal(asked(identity, { source: 'x' })) ?? '', /no entry/);
  });

  it('refuses what names no stream of this node, and tells strangers nothing of that', () => {
    const elsewhere = { source: `hybrid://billing@${BOB}`, destination: `hybrid://billing@${CAROL}` };
    for (const change of [elsewhere, { source: 'billing' }, { destination: `${as('x').destination}?a=b` }])
      assert.throws(
        () => list.refusal(asked(BILLING, change)),
        (error) => isReason(error, 'NO_ROUTE', 'UNSUPPORTED'),
      );
    assert.match(list.refusal(asked('CN:x', elsewhere)) ?? '', /no entry/);
  });
});
