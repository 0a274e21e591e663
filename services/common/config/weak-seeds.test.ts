import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { warnOfWeakSeeds } from '#common/config/weak-seeds.ts';
import { Secret } from '#common/crypto/secret.ts';
import type { LogFields } from '#common/log/log.ts';

const seed = (text: string) => ({
  shared_seed: new Secret(Buffer.from(text)),
  address: { host: 'x', port: 1 },
});

function toldOf(policy: 'refuse' | 'shared_seed') {
  const told: [string, string, LogFields | undefined][] = [];
  const note = (level: string) => (message: string, fields?: LogFields) => {
    told.push([level, message, fields]);
  };
  warnOfWeakSeeds({
    config: { uuid: 'own', policy: { missing_source: policy } } as never,
    peers: {
      own: seed('123456789'),
      weak: seed('123456789'),
      almost: seed('fifteen bytes..'),
      good: seed('sixteen bytes...'),
      none: { address: { host: 'x', port: 1 } },
    },
    log: { debug: note('debug'), info: note('info'), warning: note('warning'), error: note('error') },
  });
  return told;
}

describe('weak shared_seeds', () => {
  it('are named by peer and size, with a warning where they may stand in for a source', () => {
    for (const [policy, level] of [
      ['shared_seed', 'warning'],
      ['refuse', 'info'],
    ] as const) {
      const told = toldOf(policy);
      assert.deepEqual(
        told.map(([at, , fields]) => [at, fields?.peer, fields?.bytes]),
        [
          [level, 'weak', 9],
          [level, 'almost', 15],
        ],
      );
      for (const [, message] of told) assert.match(message, /16 random bytes or more/);
      assert.ok(!JSON.stringify(told).includes('123456789'));
    }
  });
});
