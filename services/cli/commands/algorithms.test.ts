import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { nativeMissing } from '#test/helpers/engines.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));

async function run(options: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', MAIN, 'algorithms', ...options],
    { env: { ...process.env, ...environment } },
  );
  return stdout;
}

describe('keyweave algorithms', () => {
  it('prints the KEMs of this machine and how many are usable', async () => {
    const text = await run([]);
    assert.match(text, /^ML-KEM-768 .*FIPS203 .*ML-KEM-786/m);
    assert.match(text, nativeMissing ? /26 of 29 KEMs usable/ : /29 of 29 KEMs usable/);
  });

  it('names the remedy where the native engine is not built', async () => {
    const text = await run([], { KEYWEAVE_LIBOQS_NODE: '/nowhere/liboqs-node.node' });
    assert.match(text, /26 of 29 KEMs usable/);
    for (const name of ['BIKE-L1', 'BIKE-L3', 'BIKE-L5'])
      assert.match(text, new RegExp(`${name} cannot be had.*make native`));
  });

  it('gives programs the whole table', async () => {
    const { kems, methods } = JSON.parse(await run(['--json']));
    assert.equal(kems.length, 29);
    assert.ok(methods.length > 0);
    for (const row of kems) {
      assert.equal(row.engine === null, row.unavailable !== '', row.name);
      for (const member of ['publicKeyBytes', 'ciphertextBytes', 'sharedSecretBytes'])
        assert.ok(row[member] > 0, `${row.name} ${member}`);
    }
  });
});
