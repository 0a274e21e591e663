import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { allReady, composeOrThrow, probe, SERVICES } from './container-network.ts';
import { until } from './faults.ts';
import { type Judgement, NetworkLoad, RECOVERY_LIMIT_MS } from './network-load.ts';

let load: NetworkLoad;
const judgements = new Map<string, Judgement>();

before(async () => {
  await allReady();
  load = await NetworkLoad.start();
});
after(() => load.stop('rolling-restart'));

/** A new container takes the old one's place, as when the image is a newer one. */
async function replace(service: string): Promise<void> {
  await composeOrThrow('up', '-d', '--no-build', '--no-deps', '--force-recreate', service);
  await until(`${service} is ready`, async () => (await probe(service, '/readyz')) === '200 ok');
}

describe('rolling restart of every service under a load of 50 keys/s', () => {
  for (const service of SERVICES) {
    it(`${service}: loses no stream of a gateway that stays up, and says so where it does`, async (test) => {
      const judgement = await load.judge(() => replace(service));
      judgements.set(service, judgement);
      const { recoveryMs, requests, failed, lost } = judgement;
      test.diagnostic(
        `${failed} of ${requests} requests brought no key; recovery ${recoveryMs} ms; ${lost.length} losses`,
      );
      assert.deepEqual(judgement.breaches, []);
      assert.ok(recoveryMs !== undefined && recoveryMs <= RECOVERY_LIMIT_MS, `recovery ${recoveryMs} ms`);
      const [node = '', ...rest] = service.split('-');
      if (rest.join('-') !== 'gateway') {
        assert.deepEqual(lost, []);
        return;
      }
      for (const { between, message } of lost) {
        assert.ok(between.includes(node), `${between} lost a stream that does not live at ${node}`);
        assert.match(message, /\w+ \w+/, 'a loss is told in words');
      }
      const told = new Set(lost.map(({ between }) => between.join('-')));
      assert.equal(told.size, 2, 'both streams of the gateway end, and both pairs are told');
    });
  }

  it('has kept giving keys', (test) => {
    const all = [...judgements.values()];
    const [requests, failed] = [sum(all.map((one) => one.requests)), sum(all.map((one) => one.failed))];
    test.diagnostic(`${failed} of ${requests} requests brought no key while services were replaced`);
    assert.equal(judgements.size, SERVICES.length);
    assert.ok(failed < requests / 5, `${failed} of ${requests}`);
  });
});

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
