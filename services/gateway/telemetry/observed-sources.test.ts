import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { DeriveBatch } from '#gen/keyweave/v1/hybridizer.ts';
import type { QkdFetch } from '#gen/keyweave/v1/qkd_source.ts';
import { type TelemetryOfTest, telemetryOfTest } from '#test/helpers/telemetry.ts';
import type { HybridizerClient } from '../clients/hybridizer-client.ts';
import type { KemClient } from '../clients/kem-client.ts';
import type { FetchedKeys, QkdClient } from '../clients/qkd-client.ts';
import { ObservedSources } from './observed-sources.ts';

const SLOT = { algorithm: 'ML-KEM-768', publicKeyBytes: 1184, ciphertextBytes: 1088 } as SourceSlot;

let test: TelemetryOfTest;
let sources: ObservedSources;
beforeEach(() => {
  test = telemetryOfTest();
  sources = new ObservedSources(test.telemetry);
});
afterEach(() => test.close());

const measured = async (source: string, operation: string, outcome: string) =>
  (await test.samples()).get(
    `keyweave_source_duration_seconds_count{source="${source}",operation="${operation}",outcome="${outcome}"}`,
  );

const asks = (...counts: number[]) => counts.map((count) => ({ count, keyBytes: 32 }) as QkdFetch);

describe('ObservedSources', () => {
  it('measures KEM operations by algorithm and outcome, and passes everything through', async () => {
    const refusal = new KeyweaveError('TIMEOUT', 'late');
    const pairs = { publicKeys: Buffer.alloc(1) };
    const inner = {
      generate: async () => pairs,
      decapsulate: () => Promise.reject(refusal),
      discard: () => undefined,
    } as Partial<KemClient>;
    const kem = sources.kem(inner as KemClient);
    assert.equal(await kem.generate(SLOT, 3), pairs);
    await assert.rejects(kem.decapsulate(SLOT, pairs, Buffer.alloc(1088)), refusal);
    assert.equal(await measured('ML-KEM-768', 'generate', 'ok'), 1);
    assert.equal(await measured('ML-KEM-768', 'decapsulate', 'TIMEOUT'), 1);
  });

  for (const [what, results, outcome] of [
    ['all that was asked for', [Buffer.alloc(64), Buffer.alloc(32)], 'ok'],
    ['fewer keys than were asked for', [Buffer.alloc(64), Buffer.alloc(0)], 'short'],
    ['a failure', [new KeyweaveError('QKD_UNAVAILABLE', 'no link'), Buffer.alloc(32)], 'QKD_UNAVAILABLE'],
  ] as const) {
    it(`tells a fetch that brings ${what} from the others`, async () => {
      const fetched: FetchedKeys = { results, blockBytes: 0 };
      const inner = { fetch: async () => fetched } as Partial<QkdClient>;
      assert.equal(await sources.qkd(inner as QkdClient).fetch(asks(2, 1)), fetched);
      assert.equal(await measured('QKD', 'fetch', outcome), 1);
      const bytes = results.reduce((sum, keys) => sum + (Buffer.isBuffer(keys) ? keys.length : 0), 0);
      assert.equal((await test.samples()).get('keyweave_qkd_bytes_total'), bytes);
    });
  }

  it('measures derivations, of which one that failed is not all right', async () => {
    const failure = new KeyweaveError('SOURCE_FAULT', 'two secrets are equal');
    const inner = { derive: async () => [failure] } as HybridizerClient;
    await sources.hybridizer(inner).derive([{ count: 4 } as DeriveBatch]);
    assert.equal(await measured('hybridizer', 'derive', 'SOURCE_FAULT'), 1);
  });

  it('makes spans within one that is recorded, and none by itself', async () => {
    const { tracing } = test.telemetry;
    const kem = sources.kem({
      generate: async () => ({ publicKeys: Buffer.alloc(1) }),
    } as unknown as KemClient);
    await kem.generate(SLOT, 3);
    assert.deepEqual(await test.spans(), []);
    const outer = tracing?.start('outer', { parent: undefined });
    assert.ok(tracing && outer);
    await tracing.run(tracing.within(outer), () => kem.generate(SLOT, 3));
    const [span] = await test.spans();
    assert.equal(span?.name, 'generate ML-KEM-768');
    assert.equal(span?.parentSpanContext?.spanId, outer.spanContext().spanId);
    assert.deepEqual(span?.attributes, { 'keyweave.source': 'ML-KEM-768', 'keyweave.count': 3 });
  });
});
