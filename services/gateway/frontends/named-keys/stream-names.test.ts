import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseApplicationUri } from '#common/etsi/application-uri.ts';
import { ALICE, BOB, CAROL } from '#test/helpers/streams.ts';
import { ETSI014_KEYS, SKIP_KEYS } from './key-kinds.ts';
import { Parties, type Party } from './parties.ts';
import { groupOf, inOrder, isOf, urisOf } from './stream-names.ts';

const SETTINGS = {
  a: { node: ALICE },
  'b/1@x?y#z ,é': { node: BOB },
  b2: { node: BOB },
  c: { node: CAROL },
};
const atAlice = new Parties(ALICE, SETTINGS, 'keyweave');
const atBob = new Parties(BOB, SETTINGS, 'keyweave');
const sae = (id: string) => atAlice.find(id) as Party;
const group = { master: sae('a'), slaves: inOrder([sae('b2'), sae('b/1@x?y#z ,é')]) };
const uris = urisOf(ETSI014_KEYS, group, 'hkdf-sha384', ['ML-KEM-768', 'QKD']);

function offered(change: Partial<typeof uris> = {}, peer = ALICE) {
  const rest = { ksid: '', method: '', sources: [], keyBytes: 32 };
  return groupOf(ETSI014_KEYS, { ...uris, ...rest, peer, ...change }, atBob);
}

describe('the URIs of the streams of SAEs', () => {
  it('are those that the gateway reads, whatever the SAE IDs are', () => {
    assert.equal(parseApplicationUri('source', uris.source).node, ALICE);
    assert.equal(parseApplicationUri('source', uris.source).parameter('key_sources'), 'ML-KEM-768,QKD');
    assert.equal(parseApplicationUri('destination', uris.destination).node, BOB);
    for (const uri of [uris.source, uris.destination]) {
      assert.deepEqual([isOf(ETSI014_KEYS, uri), isOf(SKIP_KEYS, uri)], [true, false]);
    }
  });

  it('tell the other end who they are', () => {
    const read = offered();
    assert.equal(read?.master.id, 'a');
    assert.deepEqual(
      read?.slaves.map(({ id }) => id),
      group.slaves.map(({ id }) => id),
    );
  });

  it('are refused where an SAE is not known, is at another node, or the form is another', () => {
    const { source, destination } = uris;
    const at = `hybrid://listener~rest~`;
    assert.equal(offered({}, CAROL), undefined, 'a master of another node than offers it');
    assert.equal(offered({ source: source.replace('~a@', '~c@') }), undefined);
    assert.equal(offered({ source: source.replace('~a@', '~nobody@') }), undefined);
    for (const wrong of [
      `${at}c@${BOB}`,
      `${at}b2,c@${BOB}`,
      `${at}b2@${CAROL}`,
      `${at}b2,b2@${BOB}`,
      `${at}@${BOB}`,
      `hybrid://app@${BOB}`,
      destination.replace('listener~rest', 'listener~skip'),
      destination.split(',').reverse().join(','),
    ])
      assert.equal(offered({ destination: wrong }), undefined, wrong);
    assert.ok(offered({ destination: `${at}b2@${BOB}` }));
  });
});
