import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEM_ENGINE_NAMES } from '#common/catalogue/kems.ts';
import { nativeMissing } from '#test/helpers/engines.ts';
import { createEngines } from './built-in-engines.ts';

async function made(allowed: Parameters<typeof createEngines>[0]) {
  const { engines, missing } = createEngines(allowed);
  await Promise.all(engines.map((engine) => engine.close()));
  return { names: engines.map(({ name }) => name), missing };
}

describe('createEngines', () => {
  it('makes every engine that this machine has, under its own name', async () => {
    const { names, missing } = await made(KEM_ENGINE_NAMES);
    const here = KEM_ENGINE_NAMES.filter((name) => name !== 'liboqs-native' || !nativeMissing);
    assert.deepEqual(names.toSorted(), here.toSorted());
    if (nativeMissing) assert.match(missing.get('liboqs-native') ?? '', /make native/);
    else assert.equal(missing.size, 0);
  });

  it('leaves out what the configuration does, and says so', async () => {
    const { names, missing } = await made(['openssl']);
    assert.deepEqual(names, ['openssl']);
    for (const name of ['liboqs-native', 'liboqs-wasm'] as const)
      assert.match(missing.get(name) ?? '', new RegExp(`pqc\\.engines .* leaves ${name} out`));
  });
});
