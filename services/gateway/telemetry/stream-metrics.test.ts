import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { BOB, IdleProducer, keyStream, LIVING } from '#test/helpers/streams.ts';
import { type TelemetryOfTest, telemetryOfTest } from '#test/helpers/telemetry.ts';
import type { ObservedStream } from '../streams/held/holdings.ts';
import { KEYS_DIFFER, StreamEvents } from '../streams/stream-events.ts';
import { streamMetrics } from './stream-metrics.ts';

const OWNER = { identity: undefined, address: '127.0.0.1:9' };
const SIDE = `peer="${BOB}",role="initiator"`;

let test: TelemetryOfTest;
let events: StreamEvents;
const streams = new Set<ObservedStream>();
beforeEach(() => {
  test = telemetryOfTest();
  events = new StreamEvents([streamMetrics(test.telemetry.meter, () => streams)]);
});
afterEach(async () => {
  streams.clear();
  await test.close();
});

const count = async (name: string) => (await test.samples()).get(name);

describe('the metrics of streams', () => {
  it('count what a stream goes through', async () => {
    const one = keyStream({ events, producer: () => new IdleProducer() });
    one.join(OWNER);
    one.peerJoined();
    one.indexes.claim(0, 2);
    one.release(0, Buffer.alloc(64, 1), 'shared_seed');
    one.take(undefined, 1_000, () => undefined, LIVING);
    one.indexes.claim(2, 3);
    one.drop(2, 3, new KeyweaveError('QKD_UNAVAILABLE', 'no link'));
    one.end(new KeyweaveError('UNKNOWN_STREAM', 'the application has closed it'));
    const samples = await test.samples();
    for (const [name, value] of [
      ['keyweave_stream_events_total{event="opened"}', 1],
      ['keyweave_stream_events_total{event="joined"}', 1],
      ['keyweave_stream_events_total{event="closed"}', 1],
      [`keyweave_batches_total{${SIDE},outcome="released"}`, 1],
      [`keyweave_batches_total{${SIDE},outcome="dropped"}`, 1],
      [`keyweave_keys_produced_total{${SIDE}}`, 2],
      [`keyweave_indexes_burned_total{${SIDE},reason="QKD_UNAVAILABLE"}`, 3],
      ['keyweave_keys_degraded_total', 2],
      [`keyweave_keys_delivered_total{peer="${BOB}",method="hkdf-sha384",degraded="true"}`, 1],
      [`keyweave_keys_delivered_total{peer="${BOB}",method="hkdf-sha384",degraded="false"}`, 0],
      ['keyweave_key_mismatches_total', 0],
      ['keyweave_source_faults_total', 0],
    ] as const) {
      assert.equal(samples.get(name), value, name);
    }
  });

  it('count keys that differ and faulty sources apart from all other failures of an agreement', async () => {
    const one = keyStream({ events });
    const drop = (error: KeyweaveError) => events.dropped(one, 0, 1, error);
    drop(new KeyweaveError('AGREEMENT_FAILED', 'the other end has dropped the batch'));
    drop(new KeyweaveError('AGREEMENT_FAILED', KEYS_DIFFER));
    drop(new KeyweaveError('SOURCE_FAULT', 'two secrets are equal'));
    assert.equal(await count('keyweave_key_mismatches_total'), 1);
    assert.equal(await count('keyweave_source_faults_total'), 1);
    const burned = `keyweave_indexes_burned_total{${SIDE},reason="AGREEMENT_FAILED"}`;
    assert.equal(await count(burned), 2);
  });

  it('count refusals by call, status and reason', async () => {
    const error = new KeyweaveError('INSUFFICIENT_KEY', 'dry');
    events.refused({ call: 'getKey', owner: OWNER, error });
    const name = 'keyweave_requests_refused_total{call="getKey",status="2",reason="INSUFFICIENT_KEY"}';
    assert.equal(await count(name), 1);
  });

  it('look at what the streams hold when they are asked', async () => {
    const one = keyStream({ events, producer: () => new IdleProducer() });
    one.indexes.claim(0, 2);
    one.release(0, Buffer.alloc(64, 1), false);
    streams.add(one);
    const samples = await test.samples();
    assert.equal(samples.get(`keyweave_streams_open{${SIDE}}`), 1);
    assert.equal(samples.get(`keyweave_streams_joined{${SIDE}}`), 0);
    assert.equal(samples.get(`keyweave_keys_buffered{${SIDE}}`), 2);
  });
});
