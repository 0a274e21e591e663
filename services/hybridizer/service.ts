import type { HybridizerServiceImplementation } from '#gen/keyweave/v1/hybridizer.ts';
import { deriveBatches } from './derive-batch.ts';
import type { HybridizationMethod } from './methods/method.ts';

/** The gRPC face of the hybridizer. */
export function createHybridizerService(
  methods: ReadonlyMap<string, HybridizationMethod>,
): HybridizerServiceImplementation {
  return { derive: async ({ batches }) => ({ batches: await deriveBatches(methods, batches) }) };
}
