import type { Meter } from '@opentelemetry/api';
import type { ServiceClient } from '#common/grpc/client.ts';
import { DURATION_BUCKETS } from '#common/telemetry/durations.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';
import type { HealthDefinition } from '#gen/grpc/health/v1/health.ts';

/** How often each peer is asked. */
const EVERY_MS = 2_000;
/** One that takes longer is taken for down. */
const LIMIT_MS = 2_000;

export interface PeerProbesOptions {
  /** UUIDs of the trusted peers as they are now. */
  readonly peers: () => readonly string[];
  readonly healthOf: (peer: string) => Pick<ServiceClient<HealthDefinition>, 'check'>;
  readonly clock?: Pick<Clock, 'monotonicMs' | 'after'>;
}

/**
 * Asks every trusted peer's broker, over the connection that calls to it go by,
 * whether it is there: nobody may have called it for hours when a stream is to
 * be opened.
 *
 * @returns ends it.
 */
export function probePeers(
  meter: Meter,
  { peers, healthOf, clock = systemClock }: PeerProbesOptions,
): () => void {
  const times = meter.createHistogram('keyweave_peer_rtt_seconds', {
    unit: 's',
    advice: { explicitBucketBoundaries: DURATION_BUCKETS },
    description: "Round trips to the peers' brokers, every few seconds",
  });
  const up = new Map<string, boolean>();
  meter
    .createObservableGauge('keyweave_peer_up', {
      description: "Whether the peer's broker has answered the last time it was asked: 1 or 0",
    })
    .addCallback((result) => {
      for (const peer of peers()) {
        const isUp = up.get(peer);
        if (isUp !== undefined) result.observe(isUp ? 1 : 0, { peer });
      }
    });

  async function probe(peer: string): Promise<void> {
    const startedMs = clock.monotonicMs();
    try {
      await healthOf(peer).check({ service: '' }, { timeoutMs: LIMIT_MS });
      times.record((clock.monotonicMs() - startedMs) / 1000, { peer });
      up.set(peer, true);
    } catch {
      up.set(peer, false);
    }
  }

  let isOver = false;
  let timer = clock.after(0, round, true);
  function round(): void {
    const asked = peers();
    for (const peer of up.keys()) if (!asked.includes(peer)) up.delete(peer);
    void Promise.all(asked.map(probe)).then(() => {
      if (!isOver) timer = clock.after(EVERY_MS, round, true);
    });
  }
  return () => {
    isOver = true;
    timer.cancel();
  };
}
