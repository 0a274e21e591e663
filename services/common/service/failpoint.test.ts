import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-failpoint-'));
const file = join(folder, 'failpoints');
process.env.KEYWEAVE_FAILPOINTS = file;
// The file's name is read when the module is loaded.
const { failpoint } = await import('#common/service/failpoint.ts');
after(() => {
  delete process.env.KEYWEAVE_FAILPOINTS;
  rmSync(folder, { recursive: true });
});

const MODULE = new URL('./failpoint.ts', import.meta.url).href;

/** How a process ends that hits the failpoint `at`. */
function ends(environment: NodeJS.ProcessEnv): Promise<{ signal: unknown; said: string }> {
  const code = `const { failpoint } = await import(${JSON.stringify(MODULE)});
    await failpoint('at'); console.log('alive')`;
  const { KEYWEAVE_FAILPOINTS: _, ...others } = process.env;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--input-type=module', '-e', code],
      { env: { ...others, ...environment } },
      (error, stdout) => resolve({ signal: error?.signal ?? undefined, said: stdout }),
    );
  });
}

describe('failpoint', () => {
  it('fails the step that the file names, and no other', async () => {
    writeFileSync(file, 'elsewhere error\n  at   error \n');
    await assert.rejects(
      async () => failpoint('at'),
      (error) => isReason(error, 'INTERNAL'),
    );
    await failpoint('nowhere');
    await failpoint('a');
  });

  it('reads the file at every hit', async () => {
    writeFileSync(file, 'at error\n');
    await assert.rejects(async () => failpoint('at'));
    writeFileSync(file, '');
    await failpoint('at');
    rmSync(file);
    await failpoint('at');
  });

  it('holds a step up as long as it is told', async () => {
    writeFileSync(file, 'at delay:60\n');
    const started = performance.now();
    await failpoint('at');
    const tookMs = performance.now() - started;
    assert.ok(tookMs >= 55, `${tookMs} ms`);
  });

  it('kills the process as kill -9 would', async () => {
    writeFileSync(file, 'at exit\n');
    assert.deepEqual(await ends({ KEYWEAVE_FAILPOINTS: file }), { signal: 'SIGKILL', said: '' });
  });

  it('is off where the environment names no file', async () => {
    assert.deepEqual(await ends({}), { signal: undefined, said: 'alive\n' });
  });
});
