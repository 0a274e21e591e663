import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ForeignUris } from './foreign-uris.ts';

const [ALICE, BOB, CAROL] = ['a', 'b', 'c'].map((digit) =>
  [8, 4, 4, 4, 12].map((length) => digit.repeat(length)).join('-'),
) as [string, string, string];

function uris(
  peers: readonly string[],
  settings: Partial<{ default_peer: string; peers: Record<string, string> }> = {},
) {
  return new ForeignUris({
    nodeUuid: ALICE,
    peers: Object.fromEntries([ALICE, ...peers].map((node) => [node, {}])),
    settings: { peers: {}, ...settings },
  });
}

describe('whom foreign URIs mean', () => {
  it('is left to themselves where one is of the node’s own form', () => {
    const own = `hybrid://app@${BOB}`;
    assert.equal(uris([BOB]).peerOf(own, 'server://x'), undefined);
    assert.equal(uris([BOB]).peerOf('client', own), undefined);
  });

  it('is the node that the destination names, then the source', () => {
    const both = uris([BOB, CAROL], { peers: { 'bob.example': BOB, 'alice.example': ALICE } });
    assert.equal(both.peerOf('client://x', `server://app@${BOB}:25575/path`), BOB);
    assert.equal(both.peerOf(`client://${CAROL.toUpperCase()}`, 'server://alice.example'), CAROL);
    assert.equal(both.peerOf(`client://${CAROL}`, 'qkd://BOB.example?x=1'), BOB);
  });

  it('is the default where neither names one, or the only peer there is', () => {
    assert.equal(
      uris([BOB, CAROL], { default_peer: CAROL }).peerOf('client://10.0.0.1', 'server://a'),
      CAROL,
    );
    assert.equal(uris([BOB]).peerOf('client://[fe80::1]', 'server://a'), BOB);
    for (const peers of [[], [BOB, CAROL]])
      assert.throws(
        () => uris(peers).peerOf('client://a', 'server://b'),
        (error) => isReason(error, 'NO_ROUTE') && /no default_peer/.test(String(error)),
      );
  });

  it('is nobody without a scheme and a host', () => {
    for (const [source, destination, what] of [
      ['client', 'server://b', 'source'],
      ['client://', 'server://b', 'source'],
      ['client://a', '', 'destination'],
      ['client://a', '//b', 'destination'],
      ['client://a', 'server:/b', 'destination'],
    ] as const)
      assert.throws(
        () => uris([BOB]).peerOf(source, destination),
        (error) =>
          isReason(error, 'NO_ROUTE') && String(error).includes(`the ${what} has no scheme and host`),
      );
  });
});
