import type { KemEngineName } from '#common/catalogue/kems.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { KemEngine } from './kem-engine.ts';
import { createLiboqsNativeEngine, loadLiboqsNode } from './liboqs-native.ts';
import { createLiboqsWasmEngine } from './liboqs-wasm.ts';
import { createOpensslEngine } from './openssl.ts';

/** Every engine of this build: the only place that lists them. */
const FACTORIES: Readonly<Record<KemEngineName, () => KemEngine>> = {
  openssl: createOpensslEngine,
  'liboqs-native': () => createLiboqsNativeEngine(loadLiboqsNode()),
  'liboqs-wasm': createLiboqsWasmEngine,
};

export interface AvailableEngines {
  readonly engines: readonly KemEngine[];
  /** Why an engine is not here and what to do about it. */
  readonly missing: ReadonlyMap<KemEngineName, string>;
}

/** The engines that this machine has, out of those that the configuration allows. */
export function createEngines(allowed: readonly KemEngineName[]): AvailableEngines {
  const engines: KemEngine[] = [];
  const missing = new Map<KemEngineName, string>();
  for (const [name, create] of Object.entries(FACTORIES) as [KemEngineName, () => KemEngine][]) {
    if (!allowed.includes(name)) {
      missing.set(name, `pqc.engines of this node leaves ${name} out`);
      continue;
    }
    try {
      engines.push(create());
    } catch (thrown) {
      missing.set(name, KeyweaveError.from(thrown).detail);
    }
  }
  return { engines, missing };
}
