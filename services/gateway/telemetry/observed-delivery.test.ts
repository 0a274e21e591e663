import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { trace } from '@opentelemetry/api';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { streamHash } from '#common/ids/stream-hash.ts';
import { LIVING, QOS } from '#test/helpers/streams.ts';
import { type TelemetryOfTest, telemetryOfTest } from '#test/helpers/telemetry.ts';
import type { Delivered, KeyDelivery, OpenConnect } from '../delivery/key-delivery.ts';
import { ObservedDelivery } from './observed-delivery.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const owner = { identity: undefined, address: '127.0.0.1:9' };
const request = { ksid: KSID, owner, signal: LIVING };

let test: TelemetryOfTest;
beforeEach(() => {
  test = telemetryOfTest();
});
afterEach(() => test.close());

const key = (): Delivered => ({ index: 7, key: new Secret(Buffer.alloc(32, 9)), metadata: '' });

function observed(getKey: () => Delivered | Promise<Delivered>) {
  const inner: KeyDelivery = {
    open: async () => ({ ksid: KSID, qos: QOS, adjusted: undefined }),
    getKey,
    close: () => undefined,
  };
  const wanted: [string, 'waits' | 'over'][] = [];
  const delivery = new ObservedDelivery(inner, test.telemetry, {
    wanted: (ksid) => {
      wanted.push([ksid, 'waits']);
      return () => wanted.push([ksid, 'over']);
    },
  });
  return { delivery, wanted };
}

const counted = async (call: string, outcome: string) =>
  (await test.samples()).get(`keyweave_request_duration_seconds_count{call="${call}",outcome="${outcome}"}`);

describe('ObservedDelivery', () => {
  it('gives a key that is ready at once, with a span around its taking', async () => {
    let inside: string | undefined;
    const { delivery, wanted } = observed(() => {
      inside = trace.getActiveSpan()?.spanContext().spanId;
      return key();
    });
    assert.ok(!(delivery.getKey(request) instanceof Promise));
    const [span] = await test.spans();
    assert.equal(span?.name, 'GET_KEY');
    assert.equal(span?.spanContext().spanId, inside);
    assert.deepEqual(span?.attributes, {
      'keyweave.protocol': 'etsi-gs-qkd-004',
      'keyweave.stream': streamHash(KSID),
      'keyweave.outcome': 'hit',
      'keyweave.index': 7,
    });
    assert.deepEqual(wanted, [
      [KSID, 'waits'],
      [KSID, 'over'],
    ]);
    assert.equal(await counted('getKey', 'hit'), 1);
  });

  it('tells who waits for as long as a key is waited for', async () => {
    const coming = Promise.withResolvers<Delivered>();
    const { delivery, wanted } = observed(() => coming.promise);
    const answer = delivery.getKey(request);
    assert.deepEqual(wanted, [[KSID, 'waits']]);
    coming.resolve(key());
    await answer;
    assert.equal(wanted.length, 2);
    assert.equal(await counted('getKey', 'waited'), 1);
  });

  for (const how of ['at once', 'later']) {
    it(`passes a refusal on, ${how}, and tells of it the reason alone`, async () => {
      const refusal = new KeyweaveError('UNKNOWN_STREAM', 'words that quote S3cret');
      const { delivery } = observed(() => {
        if (how === 'at once') throw refusal;
        return Promise.reject(refusal);
      });
      await assert.rejects(async () => delivery.getKey({ ...request, ksid: 'S3cret' }), refusal);
      const [span] = await test.spans();
      assert.equal(span?.attributes['error.type'], 'UNKNOWN_STREAM');
      assert.doesNotMatch(JSON.stringify([span?.attributes, span?.status, span?.events]), /S3cret/);
      assert.equal(await counted('getKey', 'refused'), 1);
    });
  }

  it('measures OPEN_CONNECT, and names its stream by a hash', async () => {
    const { delivery } = observed(key);
    await delivery.open({ source: 'hybrid://S3cret@x' } as OpenConnect);
    const [span] = await test.spans();
    assert.equal(span?.name, 'OPEN_CONNECT');
    assert.equal(span?.attributes['keyweave.stream'], streamHash(KSID));
    assert.doesNotMatch(JSON.stringify(span?.attributes), /S3cret|11111111-1111/);
    assert.equal(await counted('open', 'opened'), 1);
  });

  it('makes no span of what is not sampled, and measures it all the same', async () => {
    await test.close();
    test = telemetryOfTest(0);
    const { delivery, wanted } = observed(key);
    delivery.getKey(request);
    assert.deepEqual([await test.spans(), wanted], [[], []]);
    assert.equal(await counted('getKey', 'hit'), 1);
  });
});
