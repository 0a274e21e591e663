import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { slotOf } from '../streams/stream-terms.ts';
import { batchLimit, chunkBytesOf, RoundBudget, type Weighed } from './batch-limit.ts';

const limit = (sources: readonly string[], keyChunkSize = 32, maxChunks = 256) =>
  batchLimit(
    { terms: { slots: sources.map(slotOf) }, qos: { keyChunkSize } } as unknown as KeyStream,
    maxChunks,
  );

describe('batchLimit', () => {
  it('is the configured number for sources that are fast and small', () => {
    assert.equal(limit(['ML-KEM-768', 'QKD']), 256);
    assert.equal(limit(['QKD']), 256);
  });

  it('keeps every message within its budget: public keys, ciphertexts, chunks', () => {
    assert.equal(limit(['ML-KEM-1024', 'ML-KEM-1024', 'ML-KEM-1024', 'ML-KEM-1024'], 32, 1024), 167);
    assert.equal(limit(['QKD'], 65_536), 16);
  });

  it('keeps the work of one exchange within its budget, too', () => {
    assert.equal(limit(Array<string>(16).fill('QKD'), 32, 1_024), 80);
  });

  it('counts public keys or ciphertexts of a chunk, whichever are longer together', () => {
    const of = (...names: string[]) => chunkBytesOf(names.map(slotOf));
    assert.equal(of('ML-KEM-512', 'ML-KEM-512'), 1_600);
    assert.equal(of('HQC-128', 'HQC-128'), 2 * slotOf('HQC-128').ciphertextBytes);
    assert.equal(of('QKD'), 0);
  });

  it('is one where a KEM is slow, even if its public key is beyond the budget', () => {
    assert.equal(limit(['Classic-McEliece-348864', 'QKD']), 1);
    assert.equal(limit(['Classic-McEliece-8192128', 'QKD']), 1);
    assert.equal(limit(['HQC-128', 'QKD']), 8);
  });
});

describe('RoundBudget', () => {
  const stream = (sources: readonly string[], keyChunkSize = 32) =>
    ({ terms: { slots: sources.map(slotOf) }, qos: { keyChunkSize } }) as unknown as Weighed;
  const { chunks, bytes, cost } = MESSAGE_LIMITS;
  const budget = (side: 'filled' | 'taken') =>
    new RoundBudget({ chunks: chunks[side], bytes: bytes[side], cost: cost[side] });
  const spend = (round: RoundBudget, one: Weighed, count: number) => {
    const given = round.affordable(one, count);
    round.spend(one, given);
    return given;
  };

  it('takes of a message whatever an initiator fills it with', () => {
    for (const sources of [
      ['ML-KEM-512'],
      ['QKD'],
      Array<string>(16).fill('ML-KEM-1024'),
      Array<string>(16).fill('HQC-256'),
      ['Classic-McEliece-8192128', 'QKD', 'Classic-McEliece-8192128'],
      Array<string>(10).fill('Classic-McEliece-348864'),
    ]) {
      for (const chunkBytes of [32, 65_536]) {
        const one = stream(sources, chunkBytes);
        const most = batchLimit(one, 1024);
        assert.equal(budget('taken').affordable(one, most), most, `${sources[0]} ${chunkBytes}`);
      }
    }
  });

  it('ends with its chunks, its bytes or its work, whichever is first', () => {
    const light = budget('taken');
    assert.equal(spend(light, stream(['QKD']), 2000), 1024);
    assert.equal(spend(light, stream(['QKD']), 1), 0);
    assert.equal(spend(budget('taken'), stream(['QKD'], 65_536), 1000), 32);
    const heavy = budget('taken');
    let made = 0;
    for (let i = 0; i < 1000; i++) made += spend(heavy, stream(['Classic-McEliece-348864']), 1);
    assert.equal(made, 8);
    assert.equal(spend(heavy, stream(['ML-KEM-768']), 1), 1, 'there was work left for a quick one');
  });

  it('weighs the work of each source', () => {
    const work = new RoundBudget({ chunks: 1_000, bytes: Number.POSITIVE_INFINITY, cost: 800 });
    assert.equal(work.affordable(stream(['HQC-128']), 1_000), 80);
    assert.equal(work.affordable(stream(['Classic-McEliece-348864']), 1_000), 10);
    assert.equal(work.affordable(stream(['QKD', 'ML-KEM-768']), 1_000), 400);
    work.spend(stream(['HQC-128']), 40);
    assert.equal(work.affordable(stream(['Classic-McEliece-348864']), 1_000), 5);
  });

  it('gives the first one chunk, however much that is', () => {
    const small = budget('filled');
    small.spend(stream(['ML-KEM-768']), 0);
    assert.equal(spend(small, stream(['Classic-McEliece-8192128']), 5), 1);
    const round = budget('filled');
    assert.equal(spend(round, stream(['Classic-McEliece-8192128']), 1), 1);
    assert.equal(spend(round, stream(['ML-KEM-768']), 1), 0);
  });
});
