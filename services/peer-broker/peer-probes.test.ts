import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { HealthCheckResponse_ServingStatus } from '#gen/grpc/health/v1/health.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { type TelemetryOfTest, telemetryOfTest } from '#test/helpers/telemetry.ts';
import { probePeers } from './peer-probes.ts';

let test: TelemetryOfTest;
let clock: FakeClock;
beforeEach(() => {
  test = telemetryOfTest();
  clock = new FakeClock();
});
afterEach(() => test.close());

/** A link of which a test says whether it is up. */
function probed(peers: () => readonly string[]) {
  const down = new Set<string>();
  let asked = 0;
  const stop = probePeers(test.telemetry.meter, {
    peers,
    clock,
    healthOf: (peer) => ({
      check: async () => {
        asked += 1;
        if (down.has(peer)) throw new KeyweaveError('PEER_UNREACHABLE', 'it cannot be reached');
        return { status: HealthCheckResponse_ServingStatus.SERVING };
      },
    }),
  });
  return { down, stop, asked: () => asked };
}

describe('probePeers', () => {
  it('tells who answers and who does not, within a few seconds', async () => {
    const { down, stop } = probed(() => ['bob', 'carol']);
    await clock.advance(0);
    down.add('carol');
    await clock.advance(2_000);
    const samples = await test.samples();
    assert.equal(samples.get('keyweave_peer_up{peer="bob"}'), 1);
    assert.equal(samples.get('keyweave_peer_up{peer="carol"}'), 0);
    assert.equal(samples.get('keyweave_peer_rtt_seconds_count{peer="bob"}'), 2);
    assert.equal(samples.get('keyweave_peer_rtt_seconds_count{peer="carol"}'), 1);
    stop();
  });

  it('forgets a peer that is trusted no more, and asks nobody once it has ended', async () => {
    let peers = ['bob'];
    const { stop, asked } = probed(() => peers);
    await clock.advance(0);
    peers = [];
    await clock.advance(2_000);
    assert.equal((await test.samples()).get('keyweave_peer_up{peer="bob"}'), undefined);
    peers = ['bob'];
    stop();
    await clock.advance(60_000);
    assert.equal(asked(), 1);
    assert.equal(clock.pending, 0);
  });
});
