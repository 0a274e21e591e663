import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clientNetwork } from '#common/net/client-network.ts';

describe('clientNetwork', () => {
  for (const [address, network] of [
    ['127.0.0.1:4000', '127.0.0.1'],
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:10.0.0.7', '10.0.0.7'],
    ['[::ffff:10.0.0.7]:4000', '10.0.0.7'],
    ['[::1]:4000', '0:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['[2001:DB8:0:00a1:1:2:3:4]:4000', '2001:db8:0:a1::/64'],
    ['2001:db8:0:a1:ffff:2:3:4', '2001:db8:0:a1::/64'],
    ['2001:db8::a1:1:2:3:4', '2001:db8:0:a1::/64'],
    ['2001:db8:0:a1::', '2001:db8:0:a1::/64'],
    ['2001:db8::7', '2001:db8:0:0::/64'],
    ['64:ff9b::10.0.0.7', '64:ff9b:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['localhost:4000', 'localhost'],
    ['', ''],
    ['/run/keyweave.sock', '/run/keyweave.sock'],
  ] as const) {
    it(`of ${JSON.stringify(address)} is ${network}`, () => assert.equal(clientNetwork(address), network));
  }
});
