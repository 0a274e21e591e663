import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ALICE, BOB, CAROL, configOf } from '#test/helpers/openings.ts';
import { accessFaults, accessPeerFaults, accessWarnings } from './access-rules.ts';
import { type AccessConfig, accessSection } from './access-section.ts';

const client = (identity: string, change: object = {}) => ({ identity, applications: ['*'], ...change });
const parse = (given: object): AccessConfig => accessSection.parse(given);
const of = (clients: object[], listeners: object = {}) => {
  const config = configOf(ALICE);
  const access = parse({ clients });
  return { ...config, access, listeners: { ...config.listeners, ...listeners } };
};

describe('access', () => {
  it('takes identities of every kind, and a * where it means a family', () => {
    for (const identity of [
      'spiffe://a/b',
      'spiffe://a/*',
      'spiffe://a/b/c*',
      '*',
      'CN:x',
      'DNS:x',
      'anonymous',
    ])
      assert.equal(accessSection.safeParse({ clients: [client(identity)] }).success, true, identity);
    for (const identity of ['', 'spiffe://*', 'spiffe://a*', 'spiffe://a/*b', 'spiffe://a/*/*', 'CN:*', '**'])
      assert.equal(accessSection.safeParse({ clients: [client(identity)] }).success, false, identity);
  });

  it('takes nothing that means nothing', () => {
    for (const bad of [
      { clients: [{ identity: 'CN:x' }] },
      { clients: [client('CN:x', { applications: [''] })] },
      { clients: [client('CN:x', { applications: ['a*b'] })] },
      { clients: [client('CN:x', { peers: ['bob'] })] },
      { clients: [client('CN:x', { quota: { streams: 0 } })] },
      { clients: [client('CN:x', { quota: { keys: 1 } })] },
      { default_quota: { keys_per_second: 0.5 } },
    ])
      assert.equal(accessSection.safeParse(bad).success, false, JSON.stringify(bad));
    assert.deepEqual(
      parse({ clients: [client('CN:x', { peers: [BOB.toUpperCase()] })] }).clients?.[0]?.peers,
      [BOB],
    );
  });

  it('has one entry for an identity', () => {
    assert.deepEqual(accessFaults(of([client('CN:x'), client('CN:y'), client('CN:x')])), [
      { path: ['access', 'clients', 2, 'identity'], message: 'is that of entry 0, too' },
    ]);
    assert.deepEqual(accessFaults(configOf(ALICE)), []);
  });

  it('names trusted peers', () => {
    const config = of([client('CN:x', { peers: [BOB, '*', ALICE, CAROL] })]);
    assert.deepEqual(accessPeerFaults(config, { [ALICE]: {} as never, [BOB]: {} as never }), [
      { path: ['access', 'clients', 0, 'peers', 2], message: `${ALICE} is the own node` },
      { path: ['access', 'clients', 0, 'peers', 3], message: `${CAROL} is no trusted peer` },
    ]);
  });

  it('warns of listeners where nobody may open a stream, and of entries for nobody', () => {
    const mutual = { json: { ...configOf(ALICE).listeners.json, tls: 'mutual' } };
    assert.deepEqual(accessWarnings(configOf(ALICE)), []);
    assert.match(accessWarnings(of([])).join(), /access\.clients is empty/);
    assert.match(accessWarnings(of([client('CN:x')])).join(), /^listeners\.json asks for no certificates/);
    assert.deepEqual(accessWarnings(of([client('CN:x'), client('anonymous')])), []);
    assert.deepEqual(accessWarnings(of([client('CN:x')], mutual)), []);
    assert.match(accessWarnings(of([client('anonymous')], mutual)).join(), /it lets nobody in/);
  });
});
