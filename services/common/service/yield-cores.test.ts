import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';

const OWN = new URL('./yield-cores.ts', import.meta.url).href;

/** The priority of a process of its own before and after, since nobody may raise theirs again. */
function priorities(atFirst: number): number[] {
  const program = `
    import { getPriority, setPriority } from 'node:os';
    const { yieldCores } = await import('${OWN}');
    setPriority(getPriority() + ${atFirst});
    const before = getPriority();
    yieldCores();
    console.log(JSON.stringify([before, getPriority()]));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as number[];
}

describe('yieldCores', () => {
  it('goes behind whoever has the priority that this process began with, down to the lowest', () => {
    const [before = 0, after] = priorities(0);
    assert.equal(after, Math.min(19, before + 5));
    const low = 17 - before;
    assert.deepEqual(priorities(Math.max(0, low)), [Math.max(before, 17), 19]);
  });
});
