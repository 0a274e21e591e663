import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { kemEngineContract } from '#test/contract/kem-engine-contract.ts';
import { createOpensslEngine } from './openssl.ts';

const others = KEM_ALGORITHMS.filter((row) => row.family !== 'ML-KEM').map((row) => row.name);
kemEngineContract(createOpensslEngine(), new Set(others));
