import assert from 'node:assert/strict';
import type { NetworkInterfaceInfo } from 'node:os';
import { describe, it } from 'node:test';
import { isSubnet, ownAddress } from '#common/net/own-address.ts';

const info = (address: string, family: 'IPv4' | 'IPv6') => ({ address, family }) as NetworkInterfaceInfo;
const interfaces = () => ({
  lo: [info('127.0.0.1', 'IPv4'), info('::1', 'IPv6')],
  eth0: [info('10.10.11.245', 'IPv4')],
  eth1: [info('10.10.21.3', 'IPv4'), info('fd00::3', 'IPv6')],
});

describe('ownAddress', () => {
  for (const [subnet, own] of [
    ['10.10.21.0/24', '10.10.21.3'],
    ['10.10.11.0/24', '10.10.11.245'],
    ['10.10.21.3/32', '10.10.21.3'],
    ['fd00::/64', 'fd00::3'],
    ['127.0.0.0/8', '127.0.0.1'],
  ] as const) {
    it(`is ${own} in ${subnet}`, () => assert.equal(ownAddress(subnet, interfaces), own));
  }

  for (const host of [
    '0.0.0.0',
    '::',
    'peer-broker',
    '10.10.21.3',
    '10.10.21.0/33',
    'name/24',
    '10.0.0.0/8/8',
    '10.0.0.0/',
  ]) {
    it(`takes ${host} as it is`, () => {
      assert.equal(ownAddress(host, interfaces), host);
      assert.equal(isSubnet(host), false);
    });
  }

  it('says so when there is no address in the subnet', () => {
    assert.throws(() => ownAddress('10.99.0.0/16', interfaces), {
      reason: 'BAD_CONFIG',
      detail: 'this machine has no address in 10.99.0.0/16',
    });
  });
});
