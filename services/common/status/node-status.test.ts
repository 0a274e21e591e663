import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Look, nodeStatus } from '#common/status/node-status.ts';
import { readSamples, Scrape } from '#common/status/samples.ts';

const PEER = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';

/** A node that has delivered so many keys, half of whose QKD fetches failed. */
function looked(delivered: number, atMs: number, problems: string[] = []): Look {
  const text = `# HELP target_info Target metadata
target_info{service_name="gateway",service_version="0.2.0",keyweave_node="aaaa"} 1
process_start_time_seconds{service_name="gateway"} 1000
process_start_time_seconds{service_name="node"} 1000
process_cpu_seconds_total{service_name="gateway"} ${delivered / 1024}
process_resident_memory_bytes{service_name="gateway"} 95000000
nodejs_eventloop_delay_seconds{quantile="0.99",service_name="gateway"} 0.02
keyweave_service_restarts_total{service="gateway",service_name="node"} 2
keyweave_keys_delivered_total{peer="${PEER}",method="xoring",degraded="false"} ${delivered}
keyweave_keys_delivered_total{peer="${PEER}",method="xoring",degraded="true"} 0
keyweave_streams_open{peer="${PEER}",role="initiator"} 3
keyweave_streams_open{peer="${PEER}",role="responder"} 1
keyweave_keys_buffered{peer="${PEER}",role="initiator"} 16
keyweave_peer_up{peer="${PEER}"} 1
keyweave_peer_rtt_seconds_count{peer="${PEER}"} 4
keyweave_peer_rtt_seconds_sum{peer="${PEER}"} 0.008
keyweave_source_duration_seconds_count{source="QKD",operation="fetch",outcome="ok"} ${delivered / 16}
keyweave_source_duration_seconds_sum{source="QKD",operation="fetch",outcome="ok"} ${delivered / 1024}
keyweave_source_duration_seconds_count{source="QKD",operation="fetch",outcome="short"} 7
keyweave_source_duration_seconds_sum{source="QKD",operation="fetch",outcome="short"} 7
keyweave_requests_refused_total{call="getKey",status="2",reason="INSUFFICIENT_KEY"} 5
keyweave_certificate_not_after_seconds{kind="own",file="gateway.crt",service_name="gateway"} 90000
keyweave_key_mismatches_total 0
`;
  return { scrape: new Scrape(readSamples(text)), atMs, wallMs: 1_060_000, problems };
}

describe('the status of a node', () => {
  const status = nodeStatus(looked(1024, 0), looked(1536, 2000));

  it('has rates of the time between two looks, and sums over what labels tell apart', () => {
    const [peer] = status.peers;
    assert.deepEqual(
      [peer?.deliveredPerSecond, peer?.delivered, peer?.streams, peer?.buffered, peer?.isUp],
      [256, 1536, 4, 16, true],
    );
    assert.equal(peer?.rttSeconds, 0.002);
  });

  it('has the mean time of what was done meanwhile, and failures by outcome', () => {
    assert.deepEqual(status.sources, [
      { source: 'QKD', operation: 'fetch', perSecond: 16, meanSeconds: 0.015625, failures: { short: 7 } },
    ]);
  });

  it('has services, refusals and certificates', () => {
    assert.deepEqual(status.services, [
      {
        ...{ name: 'gateway', upSeconds: 60, restarts: 2, memoryBytes: 95_000_000 },
        ...{ cpu: 0.25, lateSeconds: 0.02 },
      },
    ]);
    assert.deepEqual(status.refusals, [
      { call: 'getKey', status: 2, reason: 'INSUFFICIENT_KEY', total: 5, perSecond: 0 },
    ]);
    assert.equal(status.certificates[0]?.secondsLeft, 88_940);
  });

  it('has no rate below 0 when a process begins to count anew', () => {
    const [peer] = nodeStatus(looked(1024, 0), looked(16, 1000)).peers;
    assert.equal(peer?.deliveredPerSecond, 0);
  });
});

describe('readSamples', () => {
  it('reads escaped labels, and passes over what is no sample', () => {
    assert.deepEqual(readSamples('# TYPE a gauge\na{b="x\\"y\\\\z",c="1,2} 3"} +Inf\n\nnonsense\nd 5\n'), [
      { name: 'a', labels: { b: 'x"y\\z', c: '1,2} 3' }, value: Number.NaN },
      { name: 'd', labels: {}, value: 5 },
    ]);
  });
});
