import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, it } from 'node:test';
import { createCa } from '#certs/issue.ts';
import { type ClientNames, clientCertificate } from '#test/helpers/client-certificate.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import { Parties } from './parties.ts';

const ca = await createCa({ network: 'keyweave', days: 2 });

async function certificateOf(names: ClientNames): Promise<X509Certificate> {
  return new X509Certificate((await clientCertificate(ca, names)).certificate);
}

describe('the SAEs of a listener', () => {
  it('are known by what their certificates name: the SAE ID, unless the settings say otherwise', async () => {
    const saes = new Parties(
      ALICE,
      {
        one: {},
        'sae.example': { node: ALICE },
        'spiffe://apps/three': {},
        four: { identity: 'spiffe://keyweave/client/billing' },
        remote: { node: BOB },
      },
      'testnet',
    );
    const idOf = async (names: ClientNames) => saes.ofCertificate(await certificateOf(names))?.id;
    assert.equal(await idOf({ subject: 'CN=one' }), 'one');
    assert.equal(
      await idOf({ subject: 'CN=x', names: [{ type: 'dns', value: 'SAE.example' }] }),
      'sae.example',
    );
    const uri = (value: string): ClientNames => ({ subject: 'CN=one', names: [{ type: 'url', value }] });
    assert.equal(await idOf(uri('spiffe://apps/three')), 'spiffe://apps/three');
    assert.equal(await idOf(uri('spiffe://keyweave/client/billing')), 'four');
    assert.equal(await idOf(uri('spiffe://testnet/client/one')), 'one', 'as certs issue-client makes them');
    assert.equal(await idOf(uri('spiffe://keyweave/client/one')), undefined, 'of another network');
    // The certificate's first name counts, and no other.
    assert.equal(await idOf(uri('spiffe://apps/other')), undefined);
    assert.equal(await idOf({ subject: 'CN=four' }), undefined, 'named by its identity alone');
    assert.equal(await idOf({ subject: 'CN=remote' }), undefined, 'calls another node');
    assert.equal(await idOf({ subject: 'CN=two' }), undefined);
  });

  it('gives an identity to whom the settings give it, whatever others are called', async () => {
    const saes = new Parties(ALICE, { one: {}, two: { identity: 'CN:one' } }, 'testnet');
    assert.equal(saes.ofCertificate(await certificateOf({ subject: 'CN=one' }))?.id, 'two');
  });

  it('are paired as masters of this node with slaves of others', () => {
    const saes = new Parties(ALICE, { a: {}, b: { node: BOB }, c: {}, 'd d': { node: BOB } }, 'testnet');
    const pairs = [...saes.pairs()].map(([master, slave]) => `${master.id}>${slave.name}`);
    assert.deepEqual(pairs, ['a>b', 'a>d%20d', 'c>b', 'c>d%20d']);
    assert.equal(saes.named('d%20d'), saes.find('d d'));
  });
});
