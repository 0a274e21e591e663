import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { allReady } from './container-network.ts';
import { crash, cutOneWay, type Fault, freeze, lose, shiftClock, starve, unplug } from './faults.ts';
import { type Judgement, NetworkLoad, RECOVERY_LIMIT_MS } from './network-load.ts';

const FELT_LIMIT_S = 25;

let load: NetworkLoad;

before(async () => {
  await allReady();
  load = await NetworkLoad.start();
});
after(() => load.stop('faults'));

const FAULTS: readonly Fault[] = [
  ...['qkd-source', 'pqc-source', 'hybridizer', 'peer-broker', 'gateway'].map((name) => crash(`bob-${name}`)),
  crash('alice-gateway'),
  crash('kme-simulator'),
  ...['qkd-source', 'pqc-source', 'hybridizer', 'peer-broker', 'gateway'].map((name) =>
    freeze(`bob-${name}`),
  ),
  freeze('kme-simulator'),
  unplug('bob-peer-broker', 'peers'),
  unplug('alice-qkd-source', 'alice-qkd'),
  unplug('charlie-hybridizer', 'charlie'),
  cutOneWay('alice-peer-broker', 'bob-peer-broker', 'peers'),
  cutOneWay('bob-peer-broker', 'alice-peer-broker', 'peers'),
  cutOneWay('bob-gateway', 'bob-pqc-source', 'bob'),
  lose(0.2, 'bob-peer-broker'),
  lose(0.2, 'alice-gateway'),
  starve('alice-hybridizer'),
  shiftClock('bob-peer-broker', 100),
  shiftClock('alice-hybridizer', 100),
];

describe('faults under a load of 50 keys/s: no breach, and keys again within 10 s of their end', () => {
  for (const fault of FAULTS) {
    it(fault.name, async (test) => {
      const judgement = await judged(fault).finally(() => fault.cleanUp?.());
      const { recoveryMs, requests, failed, lost } = judgement;
      test.diagnostic(
        `recovery ${recoveryMs} ms; ${failed} of ${requests} requests during it brought no key`,
      );
      assert.deepEqual(judgement.breaches, []);
      assert.ok(recoveryMs !== undefined && recoveryMs <= RECOVERY_LIMIT_MS, `recovery ${recoveryMs} ms`);
      if (fault.mustBeFelt) assert.ok(failed > 0, 'the fault was not felt, so this shows nothing');
      for (const { between, message } of lost) {
        assert.ok(
          between.some((node) => node === fault.losesStreamsOf),
          `${between} lost a stream: ${message}`,
        );
        assert.notEqual(message, '');
      }
    });
  }

  it('has given keys at both ends all along', () => {
    const { both, alone } = load.deliveries;
    assert.ok(both > 1000, `${both} keys at both ends`);
    assert.ok(alone < both / 20, `${alone} keys at one end only`);
  });
});

async function judged(fault: Fault): Promise<Judgement> {
  await fault.prepare?.();
  return load.judge(async (felt) => {
    // What has begun by half ends too, so that it does not trouble the next one.
    await fault.begin().catch((thrown) => fault.end().then(() => Promise.reject(thrown)));
    await pause(fault.holdMs);
    // Keys that were made ahead may last longer.
    for (let i = 0; i < FELT_LIMIT_S && fault.mustBeFelt && !felt(); i++) await pause(1_000);
    await fault.end();
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
