import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { type KmeSimulatorOptions, startKmeSimulator } from '../../kme-simulator/main.ts';
import { createEtsi004JsonDriver } from './etsi004-json.ts';

const NAME = {
  keyStreamId: '11111111-1111-4111-8111-111111111111',
  epoch: 0,
  sourceNode: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
  destinationNode: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
};
const never = new AbortController().signal;
const anyPort = { host: '127.0.0.1', port: 0 };

function settings(change: object = {}) {
  return nodeConfigSchema.shape.qkd.parse({ timeout: '500ms', ...change });
}

async function pair(simulator: Partial<KmeSimulatorOptions> = {}, change: object = {}) {
  const kme = await startKmeSimulator({ ends: [anyPort, anyPort], warn: () => undefined, ...simulator });
  const [a, b] = kme.addresses.map((address) => createEtsi004JsonDriver(address, settings(change)));
  assert.ok(a && b);
  after(async () => {
    a.stop();
    b.stop();
    await kme.stop();
  });
  return { kme, a, b };
}

describe('ETSI 004 JSON driver', () => {
  const kinds: [string, Partial<KmeSimulatorOptions>, object][] = [
    ['joined by KSID', {}, {}],
    ['paired by URIs', {}, { join: 'uris' }],
    [
      'with fixed application names',
      {},
      { source_application: 'Application1', destination_application: 'Application4' },
    ],
    ['one connection per call', { perCall: true }, {}],
    ['one connection per call, configured', { perCall: true }, { connection: 'per-call' }],
    ['keys in base64', { keyFormat: 'base64' }, {}],
    ['keys in hex', { keyFormat: 'hex' }, {}],
  ];
  for (const [what, simulator, change] of kinds) {
    it(`reads the same keys at both ends: ${what}`, async () => {
      const { a, b } = await pair(simulator, change);
      const handle = await a.open(NAME, 32, '', never);
      const joined = await b.open(NAME, 32, handle, never);
      const first = await a.fetch(handle, 0n, 5, 32, never);
      assert.equal(first.length, 160);
      assert.deepEqual(await b.fetch(joined, 0n, 5, 32, never), first);
      const next = await b.fetch(joined, 5n, 40, 32, never);
      assert.deepEqual(await a.fetch(handle, 5n, 40, 32, never), next);
      assert.notDeepEqual(next.subarray(0, 160), first);
      await a.close(handle, never);
    });
  }

  it('meets at key managers that answer only when both ends have come', async () => {
    const { a, b } = await pair({ blocking: true });
    const [handle, joined] = await Promise.all([a.open(NAME, 32, '', never), b.open(NAME, 32, '', never)]);
    assert.deepEqual(await a.fetch(handle, 0n, 2, 32, never), await b.fetch(joined, 0n, 2, 32, never));
  });

  it('gives fewer keys when the key manager runs dry, and the rest later', async () => {
    const { kme, a, b } = await pair({ rateBps: 1, bufferBytes: 3 * 32 });
    const handle = await a.open(NAME, 32, '', never);
    await b.open(NAME, 32, handle, never);
    assert.equal((await a.fetch(handle, 0n, 2, 32, never)).length, 64);
    assert.equal((await a.fetch(handle, 2n, 5, 32, never)).length, 32);
    assert.equal((await a.fetch(handle, 3n, 1, 32, never)).length, 0);
    assert.equal(kme.state().keysMade, 3);
  });

  it('says surely nothing was lost when the key manager refuses', async () => {
    const { kme, a } = await pair({}, { connection: 'per-call' });
    const handle = await a.open(NAME, 32, '', never);
    await kme.stopEnd(0);
    await assert.rejects(a.fetch(handle, 0n, 1, 32, never), (error) => isReason(error, 'QKD_UNAVAILABLE'));
    await kme.startEnd(0);
    assert.equal((await a.fetch(handle, 0n, 1, 32, never)).length, 32);
  });

  for (const fault of ['hang', 'drop'] as const) {
    it(`says that a key may be lost when the key manager does ${fault}`, async () => {
      const { kme, a } = await pair();
      const handle = await a.open(NAME, 32, '', never);
      kme.setFault(0, fault, 1);
      await assert.rejects(a.fetch(handle, 0n, 1, 32, never), (error) => isReason(error, 'QKD_OUT_OF_STEP'));
    });
  }

  it('ends an open that hangs in time', async () => {
    const { kme, a } = await pair();
    kme.setFault(0, 'hang', 1);
    await assert.rejects(a.open(NAME, 32, '', never), (error) => isReason(error, 'QKD_UNAVAILABLE'));
  });

  it('refuses a stream that the key manager does not know', async () => {
    const { a } = await pair();
    await assert.rejects(a.fetch('nothing', 0n, 1, 32, never), /QKD_UNAVAILABLE: .*status 3/);
  });
});
