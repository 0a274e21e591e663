import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { breaches, countDeliveries, type HistoryEntry, recoveryMs } from '../helpers/delivery-history.ts';
import { allReady, HOME, PAIRS } from './container-network.ts';
import { crash, cutOneWay, type Fault, freeze, lose, starve, unplug } from './faults.ts';
import { KEY_BYTES, PairLoad } from './pair-load.ts';

const KEYS_PER_SECOND = 51;
const RECOVERY_LIMIT_MS = 10_000;
/** What must go well before and after a fault. */
const CALM_MS = 1_500;

const history: HistoryEntry[] = [];
let loads: PairLoad[] = [];

before(async () => {
  await allReady();
  const keysPerSecond = KEYS_PER_SECOND / PAIRS.length;
  loads = await Promise.all(PAIRS.map((between) => PairLoad.start({ between, keysPerSecond, history })));
});
after(async () => {
  await Promise.all(loads.map((load) => load.stop()));
  const folder = join(HOME, '.cache', 'containers');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'faults.jsonl'), history.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
});

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
];

describe('faults under a load of 50 keys/s: no breach, and keys again within 10 s of their end', () => {
  for (const fault of FAULTS) {
    it(fault.name, async (test) => {
      await calm();
      const lostBefore = loads.map((load) => load.losses.length);
      const beganMs = Date.now();
      await fault.begin();
      await pause(fault.holdMs);
      await fault.end();
      const endedMs = Date.now();
      const recovered = await calmSince(endedMs);
      const recovery = recoveryMs(history, endedMs);
      const during = history.filter(({ answeredMs }) => answeredMs >= beganMs && answeredMs < endedMs);
      const felt = during.filter(({ status }) => status !== 0).length;
      test.diagnostic(
        `recovery ${recovery} ms; ${felt} of ${during.length} requests during it brought no key`,
      );
      if (fault.mustBeFelt) assert.ok(felt > 0, 'the fault was not felt, so this shows nothing');
      assert.deepEqual(breaches(history, KEY_BYTES), []);
      assert.ok(
        recovered && recovery !== undefined && recovery <= RECOVERY_LIMIT_MS,
        `recovery ${recovery} ms`,
      );
      for (const [i, load] of loads.entries()) {
        const lost = load.losses.slice(lostBefore[i]);
        const mayLose = load.between.some((node) => node === fault.losesStreamsOf);
        if (!mayLose) assert.deepEqual(lost, [], `${load.between} lost a stream whose gateways stayed up`);
        for (const { message } of lost) assert.notEqual(message, '');
      }
    });
  }

  it('has given keys at both ends all along', () => {
    const { both, alone } = countDeliveries(history);
    assert.ok(both > 1000, `${both} keys at both ends`);
    assert.ok(alone < both / 20, `${alone} keys at one end only`);
  });
});

function calm(): Promise<boolean> {
  return calmSince(Date.now());
}

/** Waits until every application has had only keys for a while; false when that takes too long. */
async function calmSince(fromMs: number): Promise<boolean> {
  const end = fromMs + RECOVERY_LIMIT_MS + CALM_MS;
  while (Date.now() < end) {
    await pause(100);
    const since = Math.max(fromMs, Date.now() - CALM_MS);
    if (Date.now() - fromMs < CALM_MS) continue;
    const recent = history.filter(({ op, answeredMs }) => op === 'GET_KEY' && answeredMs >= since);
    const served = new Set(recent.map(({ application }) => application));
    if (served.size === 2 * PAIRS.length && recent.every(({ status }) => status === 0)) return true;
  }
  return false;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
