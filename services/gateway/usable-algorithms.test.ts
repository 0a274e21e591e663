import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/algorithms/kem-algorithms.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import type { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { type StreamTerms, slotOf } from './key-streams/stream-terms.ts';
import { usableAlgorithms } from './usable-algorithms.ts';

const client = {
  listAlgorithms: async () => ({
    algorithms: KEM_ALGORITHMS.map(({ name }) => ({ slot: { algorithm: name }, unavailable: '' })),
  }),
} as unknown as ServiceClient<PqcSourceDefinition>;
const assertUsable = usableAlgorithms(client, () => 0);
const terms = (...sources: string[]) => ({ slots: sources.map(slotOf) }) as unknown as StreamTerms;

describe('usableAlgorithms', () => {
  it('takes every single KEM beside QKD, and two of the largest', async () => {
    for (const { name } of KEM_ALGORITHMS) await assertUsable(terms(name, 'QKD'));
    await assertUsable(terms('Classic-McEliece-8192128', 'QKD', 'Classic-McEliece-8192128'));
  });

  it('refuses in words a list whose public keys no message holds', async () => {
    const largest = 'Classic-McEliece-8192128';
    await assert.rejects(
      assertUsable(terms(largest, largest, largest)),
      /UNSUPPORTED: the KEMs of this list exchange 4073472 bytes for each key and 3145728 are possible/,
    );
  });
});
