import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Command, startCommand } from '#test/helpers/command.ts';
import { eventually } from '#test/helpers/network.ts';

const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 15_000;

/** Every process whose environment names the folder: the demo and all that it has started, orphans too. */
function processesOf(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(folder);
      } catch {
        return false;
      }
    });
}

/** Starts the demo with a folder for temporary files of its own, and gives what is left when the test ends. */
function startDemo(t: { after: (end: () => void) => void }): { demo: Command; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-demo-'));
  const demo = startCommand(['demo'], { env: { TMPDIR: folder } });
  t.after(() => {
    for (const pid of processesOf(folder)) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  return { demo, folder };
}

async function assertNothingLeft(demo: Command, folder: string, status: number): Promise<void> {
  const { code, stderr } = await demo.outcome;
  assert.equal(code, status, stderr);
  assert.deepEqual(readdirSync(folder), []);
  await eventually('every process has ended', 2_000, async () =>
    processesOf(folder).length === 0 ? true : undefined,
  );
}

const hasCaKey = (folder: string) =>
  readdirSync(folder).some((name) => existsSync(join(folder, name, 'ca', 'ca.key')));

describe('a demo that is interrupted while it starts', { skip: !existsSync('/proc/self/environ') }, () => {
  for (const [count, when] of [
    [1, 'has just made its folder'],
    [4, 'starts its nodes'],
    [9, 'starts their services'],
    [19, 'has started them all'],
  ] as const) {
    it(`when it ${when} ends with all its processes, and its folder with the key of the CA`, async (t) => {
      const { demo, folder } = startDemo(t);
      await eventually(`there are ${count} processes`, START_LIMIT_MS, async () =>
        hasCaKey(folder) && processesOf(folder).length >= count ? true : undefined,
      );
      demo.process.kill('SIGTERM');
      await assertNothingLeft(demo, folder, 143);
    });
  }

  it('and then told again ends all the sooner, and leaves nothing either', async (t) => {
    const { demo, folder } = startDemo(t);
    await eventually('services start', START_LIMIT_MS, async () =>
      processesOf(folder).length >= 12 ? true : undefined,
    );
    demo.process.kill('SIGTERM');
    await eventually('it has heard', STOP_LIMIT_MS, async () =>
      demo.stderr().includes('stopping everything') ? true : undefined,
    );
    // Later than what counts as the same press of Ctrl-C.
    const again = setInterval(() => demo.process.kill('SIGTERM'), 350);
    t.after(() => clearInterval(again));
    await assertNothingLeft(demo, folder, 143);
  });
});
