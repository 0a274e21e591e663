import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hostsOverlap, isLoopback, isUnspecified, sameHost } from '#common/net/same-host.ts';

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

  it('are this machine alone where they are of 127.0.0.0/8, ::1 or localhost, and no name besides', () => {
    const own = ['127.0.0.1', '127.8.9.10', '127.0.0.0/8', '::1', '0:0::1', 'localhost', 'LocalHost.'];
    const others = ['127.evil.example', '127', '10.127.0.1', '::', '0.0.0.0', 'localhost.example', '1'];
    assert.deepEqual(
      own.filter((host) => !isLoopback(host)),
      [],
    );
    assert.deepEqual(others.filter(isLoopback), []);
  });
});
