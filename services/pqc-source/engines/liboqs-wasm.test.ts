import { after } from 'node:test';
import { kemEngineContract } from '#test/contract/kem-engine-contract.ts';
import { createLiboqsWasmEngine } from './liboqs-wasm.ts';

const wasm = createLiboqsWasmEngine();
after(() => wasm.close());

kemEngineContract(wasm, new Set(['BIKE-L1', 'BIKE-L3', 'BIKE-L5']));
