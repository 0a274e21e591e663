import type { KemEngine } from './kem-engine.ts';
import { createLiboqsWasmEngine } from './liboqs-wasm.ts';
import { createOpensslEngine } from './openssl.ts';

/** Every engine of this build in order of preference: the only place that lists them. */
export function createEngines(): KemEngine[] {
  return [createOpensslEngine(), createLiboqsWasmEngine()];
}
