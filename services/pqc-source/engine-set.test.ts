import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  findKemAlgorithm,
  KEM_ALGORITHMS,
  KEM_ENGINE_NAMES,
  type KemAlgorithm,
  type KemEngineName,
} from '#common/catalogue/kems.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { nativeMissing } from '#test/helpers/engines.ts';
import { EngineSet } from './engine-set.ts';
import { createEngines } from './engines/built-in-engines.ts';
import type { KemEngine } from './engines/kem-engine.ts';

const row = (name: string) => findKemAlgorithm(name) as KemAlgorithm;

function recordingLog() {
  const errors: string[] = [];
  const log: Log = {
    ...silentLog,
    error: (_message, fields) => errors.push(String(fields?.engine)),
  };
  return { log, errors };
}

/** An engine that can do what is named and nothing else. */
function fake(name: KemEngineName, selfTest: () => Promise<void> = async () => undefined): KemEngine {
  return {
    name,
    supports: (algorithm) => name !== 'openssl' || algorithm.family === 'ML-KEM',
    generateKeyPairs: () => assert.fail(),
    encapsulate: () => assert.fail(),
    decapsulate: () => assert.fail(),
    selfTest,
    close: async () => undefined,
  };
}

const setOf = (...engines: KemEngine[]) =>
  new EngineSet({ engines, missing: new Map([['liboqs-native', 'not built: make native']]) }, silentLog);

describe('which engine does what', () => {
  it('is what the table prefers, whatever the order of the engines', () => {
    const all = KEM_ENGINE_NAMES.map((name) => fake(name));
    for (const engines of [all, [...all].reverse()]) {
      const set = setOf(...engines);
      assert.equal(set.engineOf(row('ML-KEM-768'))?.name, 'liboqs-native');
      assert.equal(set.engineOf(row('HQC-128'))?.name, 'liboqs-wasm');
      assert.equal(set.engineOf(row('Kyber512'))?.name, 'liboqs-native');
      assert.equal(set.engineOf(row('BIKE-L1'))?.name, 'liboqs-native');
    }
  });

  it('falls back to the next one', () => {
    const set = setOf(fake('openssl'), fake('liboqs-wasm'));
    assert.equal(set.engineOf(row('ML-KEM-768'))?.name, 'openssl');
    assert.equal(set.engineOf(row('Kyber512'))?.name, 'liboqs-wasm');
  });

  it('refuses what none has, with the reason and the remedy', () => {
    const set = setOf(fake('openssl'), fake('liboqs-wasm'));
    assert.throws(
      () => set.find('bike-l3'),
      (error) => isReason(error, 'UNSUPPORTED') && /BIKE-L3.*make native.*choose another/.test(String(error)),
    );
    assert.equal(set.unavailable(row('ML-KEM-768')), '');
    assert.throws(
      () => set.find('ML-KEM-999'),
      (error) => isReason(error, 'UNSUPPORTED') && /ML-KEM-999/.test(String(error)),
    );
  });

  it('leaves an engine out that fails its self-test, loudly', async () => {
    const { log, errors } = recordingLog();
    const broken = fake('liboqs-native', () => Promise.reject(new Error('wrong secret')));
    const set = new EngineSet({ engines: [broken, fake('liboqs-wasm')], missing: new Map() }, log);
    await set.selfTest();
    assert.deepEqual(errors, ['liboqs-native']);
    assert.equal(set.engineOf(row('Kyber512'))?.name, 'liboqs-wasm');
    assert.match(set.unavailable(row('BIKE-L1')), /self-test/);
  });

  it('is what the configuration allows', () => {
    const { engines, missing } = createEngines(['openssl']);
    assert.deepEqual(
      engines.map((engine) => engine.name),
      ['openssl'],
    );
    const set = new EngineSet({ engines, missing }, silentLog);
    assert.match(set.unavailable(row('BIKE-L1')), /pqc\.engines/);
  });

  it(`covers ${nativeMissing ? 'all but BIKE' : 'all 29'} on this machine`, () => {
    const set = new EngineSet(createEngines(KEM_ENGINE_NAMES), silentLog);
    const lacking = KEM_ALGORITHMS.filter((algorithm) => !set.engineOf(algorithm)).map((one) => one.name);
    assert.deepEqual(lacking, nativeMissing ? ['BIKE-L1', 'BIKE-L3', 'BIKE-L5'] : []);
    for (const name of lacking) assert.match(set.unavailable(row(name)), /make native/);
  });
});
