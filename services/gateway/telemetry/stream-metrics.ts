import type { Meter } from '@opentelemetry/api';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { STATUS_TABLE } from '#common/errors/status-table.ts';
import { type Holdings, holdingsBy, noHoldings, type ObservedStream } from '../streams/held/holdings.ts';
import {
  KEYS_DIFFER,
  type RefusedRequest,
  type StreamFacts,
  type StreamListener,
} from '../streams/stream-events.ts';

/** Keys given to applications, by what their labels say. */
interface Delivered {
  sound: number;
  degraded: number;
}

/**
 * Metrics of streams, batches and keys. Labels are peers, roles, methods,
 * reasons and statuses: each of a list that nobody outside can make longer.
 * Deliveries are counted by hand, since every key pays for it.
 */
export function streamMetrics(meter: Meter, streams: () => Iterable<ObservedStream>): StreamListener {
  const counter = (name: string, description: string) => meter.createCounter(name, { description });
  const refusals = counter(
    'keyweave_requests_refused_total',
    'Requests of applications that were refused, by call, ETSI GS QKD 004 status and reason',
  );
  const batches = counter('keyweave_batches_total', 'Batches of keys, by peer, role and outcome');
  const produced = counter('keyweave_keys_produced_total', 'Keys that both ends have confirmed');
  const burned = counter('keyweave_indexes_burned_total', 'Indexes of dropped batches, by reason');
  const mismatches = counter(
    'keyweave_key_mismatches_total',
    'Batches whose ends did not derive the same keys; dropped at both. Must stay 0',
  );
  const faults = counter(
    'keyweave_source_faults_total',
    'Batches dropped since a source gave equal or empty secrets. Must stay 0',
  );
  const degraded = counter(
    'keyweave_keys_degraded_total',
    'Keys for which a shared_seed stood in for a source, or sources were left out',
  );
  const events = counter('keyweave_stream_events_total', 'Streams that were opened, joined, expired, closed');
  const delivered = observedDeliveries(meter);
  observeHoldings(meter, streams);
  // A rate begins at what was there before.
  for (const each of [mismatches, faults, degraded]) each.add(0);

  const sideOf = ({ route, role }: StreamFacts) => ({ peer: route.farNode, role });
  return {
    opened: () => events.add(1, { event: 'opened' }),
    joined: () => events.add(1, { event: 'joined' }),
    expired: () => events.add(1, { event: 'expired' }),
    closed: () => events.add(1, { event: 'closed' }),
    delivered: (stream, _index, isDegraded) => {
      const of = delivered(stream.route.farNode, stream.terms.method.name);
      if (isDegraded) of.degraded += 1;
      else of.sound += 1;
    },
    refused: ({ call, error }: RefusedRequest) => {
      const { reason } = error;
      refusals.add(1, { call, status: `${STATUS_TABLE[reason].etsi004}`, reason });
    },
    released: (stream, _first, count) => {
      batches.add(1, { ...sideOf(stream), outcome: 'released' });
      produced.add(count, sideOf(stream));
    },
    dropped: (stream, _first, count, { reason, detail }: KeyweaveError) => {
      const side = sideOf(stream);
      batches.add(1, { ...side, outcome: 'dropped' });
      burned.add(count, { ...side, reason });
      // Without labels, so that the first one is a step up from 0; the log names the stream.
      if (reason === 'AGREEMENT_FAILED' && detail === KEYS_DIFFER) mismatches.add(1);
      if (reason === 'SOURCE_FAULT') faults.add(1);
    },
    degraded: (_stream, _first, count) => degraded.add(count),
  };
}

/** Where the deliveries to one peer by one method are counted. */
function observedDeliveries(meter: Meter): (peer: string, method: string) => Delivered {
  const counts = new Map<string, Map<string, Delivered>>();
  meter
    .createObservableCounter('keyweave_keys_delivered_total', {
      description:
        'Keys given to applications of this node, by peer, method and whether a source was replaced',
    })
    .addCallback((result) => {
      for (const [peer, methods] of counts) {
        for (const [method, { sound, degraded }] of methods) {
          result.observe(sound, { peer, method, degraded: 'false' });
          if (degraded > 0) result.observe(degraded, { peer, method, degraded: 'true' });
        }
      }
    });
  return (peer, method) => {
    const found = counts.get(peer)?.get(method);
    if (found) return found;
    const fresh = { sound: 0, degraded: 0 };
    const methods = counts.get(peer) ?? new Map<string, Delivered>();
    counts.set(peer, methods.set(method, fresh));
    return fresh;
  };
}

/** What streams hold is looked at when somebody asks, and not kept up to date meanwhile. */
function observeHoldings(meter: Meter, streams: () => Iterable<ObservedStream>): void {
  const gauge = (name: string, description: string) => meter.createObservableGauge(name, { description });
  const gauges = {
    open: gauge('keyweave_streams_open', 'Open streams, by peer and role'),
    joined: gauge('keyweave_streams_joined', 'Open streams that the applications of both ends have joined'),
    buffered: gauge('keyweave_keys_buffered', 'Confirmed keys that wait for an application of this node'),
    coming: gauge('keyweave_keys_coming', 'Keys on their way, not confirmed yet'),
    waiting: gauge('keyweave_requests_waiting', 'GET_KEYs that wait for a key'),
  };
  /** A peer without streams any more has none, which is not the same as no answer. */
  const known = new Map<string, { peer: string; role: string }>();
  meter.addBatchObservableCallback((result) => {
    const held = holdingsBy(streams(), ({ role, route: { farNode: peer } }) => {
      const side = `${role} ${peer}`;
      if (!known.has(side)) known.set(side, { peer, role });
      return side;
    });
    for (const [side, labels] of known) {
      const sum = held.get(side) ?? noHoldings();
      for (const name of Object.keys(gauges) as (keyof Holdings)[])
        result.observe(gauges[name], sum[name], labels);
    }
  }, Object.values(gauges));
}
