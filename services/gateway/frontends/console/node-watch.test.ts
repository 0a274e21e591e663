import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Pages } from '#common/status/look.ts';
import { healthPortsOf, NodeWatch } from './node-watch.ts';

const ADDRESSES = [9_001, 9_002].map((port) => ({ host: '127.0.0.1', port }));

/** Health ports of which a test says what they show. */
function watched(addresses = ADDRESSES) {
  const shown = new Map<number, Pages | undefined>();
  let nowMs = 0;
  const read = async ({ port }: { port: number }) => {
    const pages = shown.get(port);
    if (!pages) throw new KeyweaveError('SERVICE_UNAVAILABLE', `nobody answers at ${port}`);
    return pages;
  };
  const watch = new NodeWatch(addresses, read, () => nowMs);
  return { watch, shown, pass: (ms: number) => (nowMs += ms) };
}

const up = (peer: string): Pages => ({ metrics: `keyweave_peer_up{peer="${peer}"} 1\n`, problems: [] });

describe('the watch over a node', () => {
  it('puts together what its services show, and names those that do not answer', async () => {
    const { watch, shown } = watched();
    shown.set(9_001, up('b'));
    await watch.look();
    const { status, missing } = watch.now;
    assert.deepEqual(
      status?.peers.map(({ node, isUp }) => [node, isUp]),
      [['b', true]],
    );
    assert.deepEqual([status?.problems, missing], [['nobody answers at 9002'], undefined]);
  });

  it('says why there is nothing, and does not ask where nothing is to be had', async () => {
    const silent = watched();
    await silent.watch.look();
    assert.equal(silent.watch.now.missing, 'nobody answers at 9001; nobody answers at 9002');
    const off = watched([]);
    await off.watch.look();
    assert.match(off.watch.now.missing ?? '', /^Metrics are off: /);
  });

  it('forgets what it has seen when nobody answers any more, not at the first look that fails', async () => {
    const { watch, shown, pass } = watched();
    shown.set(9_001, up('b'));
    await watch.look();
    shown.clear();
    await watch.look();
    assert.ok(watch.now.status);
    pass(performance.now() + 11_000);
    await watch.look();
    assert.equal(watch.now.status, undefined);
  });
});

describe('the health ports that it asks', () => {
  const portsOf = (more: object) =>
    healthPortsOf(
      nodeConfigSchema.parse({
        uuid: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
        certificate_config: {
          ...{ certificate_ip: '127.0.0.1', cert_authority_path: 'ca.crt' },
          ...{ cert_path: 'node.crt', key_path: 'node.key' },
        },
        hybridization_server_address: { host: '127.0.0.1', port: 3 },
        qkd_address: { host: '127.0.0.1', port: 1 },
        peer_local_address: { host: '127.0.0.1', port: 2 },
        ...more,
      }),
    );

  it('are those that are named, else the own one where it shows metrics', () => {
    const telemetry = {};
    assert.deepEqual(portsOf({ health: { port: 9_465 }, telemetry }), [{ host: '127.0.0.1', port: 9_465 }]);
    assert.deepEqual(portsOf({ health: { host: '0.0.0.0', port: 9_465 }, telemetry }), [
      { host: '127.0.0.1', port: 9_465 },
    ]);
    assert.deepEqual(portsOf({ listeners: { console: { health: ADDRESSES } } }), ADDRESSES);
    for (const off of [{ health: { port: 9_465 } }, { telemetry }, { health: { port: 0 }, telemetry }])
      assert.deepEqual(portsOf(off), []);
    assert.deepEqual(portsOf({ health: { port: 9_465 }, telemetry: { metrics: false } }), []);
  });
});
