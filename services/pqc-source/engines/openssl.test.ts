import { KEM_ALGORITHMS } from '#common/algorithms/kem-algorithms.ts';
import { kemEngineContract } from './kem-engine-contract.ts';
import { createOpensslEngine } from './openssl.ts';

const others = KEM_ALGORITHMS.filter((row) => row.family !== 'ML-KEM').map((row) => row.name);
kemEngineContract(createOpensslEngine(), new Set(others));
