import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hostsOverlap, isUnspecified, sameHost } from '#common/net/same-host.ts';

describe('hosts of the configuration', () => {
  it('are one however they are written', () => {
    for (const [one, other] of [
      ['127.0.0.1', 'localhost'],
      ['KME.example.', 'kme.example'],
      ['2001:db8:0:0::1', '2001:DB8::1'],
    ] as const)
      assert.ok(sameHost(one, other), `${one} ${other}`);
    assert.ok(!sameHost('127.0.0.1', '127.0.0.2'));
  });

  it('are in the way of each other where one is all addresses, or a subnet that has the other', () => {
    for (const [one, other, expected] of [
      ['0.0.0.0', '127.0.0.1', true],
      ['10.1.0.1', '::', true],
      ['10.1.0.0/16', '10.1.2.3', true],
      ['10.2.2.3', '10.1.0.0/16', false],
      ['10.1.0.0/16', 'kme', false],
      ['10.1.0.0/16', '10.1.0.0/16', true],
      ['127.0.0.1', '127.0.0.2', false],
    ] as const)
      assert.equal(hostsOverlap(one, other), expected, `${one} ${other}`);
    assert.deepEqual(['0.0.0.0', '::', '0:0::0', '127.0.0.1', 'x'].map(isUnspecified), [
      true,
      true,
      true,
      false,
      false,
    ]);
  });
});
