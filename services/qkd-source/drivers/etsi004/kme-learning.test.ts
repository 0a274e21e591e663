import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { openBoth, qkdStreamName } from '#test/contract/qkd-driver-contract.ts';
import { type KmeSimulatorOptions, startKmeSimulator } from '../../../kme-simulator/main.ts';
import { createEtsi004JsonDriver } from './etsi004-json.ts';

const never = new AbortController().signal;
const anyPort = { host: '127.0.0.1', port: 0 };
const BETWEEN = qkdStreamName();

/** Two key managers, a driver at each, what the first one's driver says, and a clock of the test's own. */
async function started(t: TestContext, simulator: Partial<KmeSimulatorOptions> = {}, change: object = {}) {
  const kme = await startKmeSimulator({ ends: [anyPort, anyPort], warn: () => undefined, ...simulator });
  const lines: string[] = [];
  let nowMs = 0;
  const said = (message: string) => void lines.push(message);
  const log = { ...silentLog, info: said, warning: said };
  const settings = nodeConfigSchema.shape.qkd.parse({ timeout: '20s', ...change });
  const [a, b] = kme.addresses.map((address, end) =>
    createEtsi004JsonDriver(address, settings, { log: end === 0 ? log : silentLog, now: () => nowMs }),
  );
  assert.ok(a && b);
  t.after(async () => {
    a.stop();
    b.stop();
    await kme.stop();
  });
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { kme, a, b, lines, pass };
}

/** Reads keys at both ends in fetches large enough for requests to go together where they may. */
async function readBoth({ a, b }: Pick<Awaited<ReturnType<typeof started>>, 'a' | 'b'>) {
  const [atA, atB] = await openBoth({ a, b });
  for (const first of [0n, 60n]) {
    const [fromA, fromB] = await Promise.all([
      a.fetch(atA, first, 60, 32, never),
      b.fetch(atB, first, 60, 32, never),
    ]);
    assert.equal(fromA.length, 60 * 32);
    assert.deepEqual(fromA, fromB);
  }
}

describe('KmeLearning', () => {
  it('learns that several requests may go together, and takes no key for it', async (t) => {
    const { kme, a, lines } = await started(t);
    await a.learn();
    assert.deepEqual(lines, ['the key manager takes several requests at once']);
    const { keysMade, streams, ends } = kme.state();
    assert.deepEqual([keysMade, streams], [0, 0]);
    await a.learn();
    assert.equal(kme.state().ends[0]?.connections, ends[0]?.connections, 'once');
  });

  it('learns that blocks are given, for two secrets at most and nothing left open', async (t) => {
    const { kme, a, lines } = await started(t);
    assert.equal(a.blockBytes, 0);
    await a.learn(BETWEEN);
    assert.equal(a.blockBytes, 512);
    assert.ok(lines.includes('the key manager gives blocks of keys'));
    // One key of 64 bytes.
    assert.deepEqual([kme.state().keysMade, kme.state().streams, kme.state().heldBytes], [1, 0, 0]);
    await a.learn(BETWEEN);
    assert.equal(kme.state().keysMade, 1);
  });

  it('says that a key manager which reads once takes one request at a time', async (t) => {
    const both = await started(t, { habit: 'read-once' });
    for (let i = 0; i < 3; i++) {
      await Promise.all([both.a.learn(BETWEEN), both.b.learn(BETWEEN)]);
      both.pass(60_000);
    }
    assert.equal(
      both.lines.filter((line) => line === 'the key manager takes one request at a time').length,
      1,
    );
    assert.equal(both.a.blockBytes, 512);
    await readBoth(both);
  });

  it('is not kept for long by a key manager that loses answers', async (t) => {
    const { kme, a } = await started(t, { habit: 'read-once' });
    const begun = performance.now();
    await a.learn();
    assert.ok(performance.now() - begun < 1500, 'the limits of a probe');
    kme.setFault(0, 'hang');
    await a.learn(BETWEEN);
    assert.ok(performance.now() - begun < 3000, 'the limits of two');
  });

  it('learns that a key manager closes after each answer', async (t) => {
    const both = await started(t, { habit: 'close-after-answer' });
    await Promise.all([both.a.learn(BETWEEN), both.b.learn(BETWEEN)]);
    assert.ok(both.lines.includes('the key manager takes one request at a time'));
    assert.equal(both.a.blockBytes, 512);
    await readBoth(both);
  });

  it('disturbs no stream that is read meanwhile', async (t) => {
    for (const habit of ['read-once', 'byte-by-byte', 'close-after-answer', undefined] as const) {
      const both = await started(t, habit ? { habit } : {});
      const learning = Promise.all([both.a.learn(BETWEEN), both.b.learn(BETWEEN)]);
      await Promise.all([readBoth(both), readBoth(both), learning]);
    }
  });

  it('does nothing where the configuration says one request at a time', async (t) => {
    const both = await started(t, {}, { pipeline: 'off' });
    await both.a.learn(BETWEEN);
    assert.equal(both.kme.state().ends[0]?.connections, 0);
    assert.equal(both.a.blockBytes, 0);
    await readBoth(both);
  });

  it('does not ask for blocks where they are not wanted', async (t) => {
    const { kme, a } = await started(t, {}, { block_keys: 1 });
    await a.learn(BETWEEN);
    assert.deepEqual([a.blockBytes, kme.state().keysMade], [0, 0]);
  });

  it('meets the other end at key managers that answer only when both have come', async (t) => {
    const { a, b, kme } = await started(t, { blocking: true });
    await Promise.all([a.learn(BETWEEN), b.learn(BETWEEN)]);
    assert.deepEqual([a.blockBytes, b.blockBytes, kme.state().streams], [512, 512, 0]);
  });

  it('learns nothing of blocks from such a key manager when the other end does not come, and tries later', async (t) => {
    const { a, b, kme, lines, pass } = await started(t, { blocking: true });
    await a.learn(BETWEEN);
    assert.deepEqual([a.blockBytes, kme.state().keysMade], [0, 0]);
    assert.deepEqual(lines, ['the key manager takes several requests at once']);
    await Promise.all([a.learn(BETWEEN), b.learn(BETWEEN)]);
    assert.equal(a.blockBytes, 0, 'not before its pause is over');
    pass(60_000);
    // The other end has given up meanwhile, and comes anew.
    await Promise.all([a.learn(BETWEEN), b.learn(BETWEEN)]);
    assert.deepEqual([a.blockBytes, b.blockBytes], [512, 512]);
  });

  it('goes on with the two nodes that it was told last, while keys are read', async (t) => {
    const { a, kme, pass } = await started(t);
    kme.setFault(0, 'drop', 2);
    await a.learn(BETWEEN);
    assert.equal(a.blockBytes, 0);
    pass(60_000);
    await a.learn();
    assert.equal(a.blockBytes, 512);
  });

  it('tries a few times only', async (t) => {
    const { a, kme, lines, pass } = await started(t);
    kme.setFault(0, 'drop');
    for (let i = 0; i < 12; i++) {
      await a.learn(BETWEEN);
      pass(3_600_000);
    }
    const { connections } = kme.state().ends[0] ?? {};
    assert.ok(connections !== undefined && connections <= 12, `${connections} connections`);
    assert.equal(lines.filter((line) => line.includes('one request at a time')).length, 1);
  });

  it('waits for a key manager that is off, at no cost', async (t) => {
    const both = await started(t);
    await both.kme.stopEnd(0);
    for (let i = 0; i < 20; i++) {
      await both.a.learn(BETWEEN);
      both.pass(60_000);
    }
    assert.deepEqual(both.lines, []);
    await both.kme.startEnd(0);
    await both.a.learn(BETWEEN);
    assert.equal(both.lines.length, 2);
    await readBoth(both);
  });

  it('goes back to one request at a time when answers are lost, and learns anew after a pause', async (t) => {
    const both = await started(t, {}, { timeout: '2s' });
    const { a, kme, lines, pass } = both;
    await a.learn();
    const [atA] = await openBoth(both);
    await a.fetch(atA, 0n, 20, 32, never);
    kme.setFault(0, 'read-once');
    await assert.rejects(a.fetch(atA, 20n, 40, 32, never), (error) => isReason(error, 'QKD_OUT_OF_STEP'));
    await a.learn();
    await readBoth(both);
    assert.match(lines.at(-1) ?? '', /^requests to the key manager failed together/);
    pass(60_000);
    await a.learn();
    pass(60_000);
    await a.learn();
    assert.equal(lines.at(-1), 'the key manager takes one request at a time');
    await readBoth(both);
  });

  it('pipelines again once the key manager has shown that it can', async (t) => {
    const both = await started(t);
    const { a, kme, lines, pass } = both;
    await a.learn();
    const [atA] = await openBoth(both);
    await a.fetch(atA, 0n, 20, 32, never);
    kme.setFault(0, 'drop', 1);
    await assert.rejects(a.fetch(atA, 20n, 40, 32, never), (error) => isReason(error, 'QKD_OUT_OF_STEP'));
    pass(60_000);
    await a.learn();
    assert.equal(lines.filter((line) => line === 'the key manager takes several requests at once').length, 2);
    await readBoth(both);
  });
});
