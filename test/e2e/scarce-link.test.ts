import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { askBoth } from '../helpers/asking.ts';
import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { type LocalNode, networkFor, openData, openPair, type Pair } from '../helpers/network.ts';

const KEY_BYTES = 32;
const RATE_BPS = 2_000;
const MODEST = 10;
const MODEST_GAP_MS = 2_000;
/** Each modest GET_KEY is answered within this while the link runs. */
const MODEST_LIMIT_MS = 1_000;
/** When a link has come back its shares are what they were within this. */
const RESTORED_MS = 5_000;

/** How long the link runs at its rate first; SCARCE_SECONDS=600 for the ten minutes of an acceptance. */
const STEADY_MS = 1_000 * Number(process.env.SCARCE_SECONDS ?? 40);

/** Two applications that read one stream at a pace of their own, and what they were answered. */
class Readers {
  readonly history: HistoryEntry[] = [];
  readonly #pair: Pair;
  readonly #gapMs: number;
  readonly #running: Promise<void>;
  #stopping = false;

  constructor(pair: Pair, gapMs: number) {
    this.#pair = pair;
    this.#gapMs = gapMs;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    await delay(Math.random() * this.#gapMs);
    while (!this.#stopping) {
      const beganMs = performance.now();
      await askBoth(this.history, this.#pair);
      // A refusal at once must not become a busy loop.
      await delay(Math.max(20, this.#gapMs - (performance.now() - beganMs)));
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
    await this.#pair.close();
  }

  /** What was asked in [from, to), wall-clock milliseconds. */
  asked(from: number, to: number): HistoryEntry[] {
    return this.history.filter(({ sentMs }) => sentMs >= from && sentMs < to);
  }
}

const slowest = (entries: readonly HistoryEntry[]) =>
  Math.max(0, ...entries.map(({ sentMs, answeredMs }) => answeredMs - sentMs));
const served = (entries: readonly HistoryEntry[]) => entries.filter(({ status }) => status === 0).length;

describe(`a QKD link of ${RATE_BPS} bit/s`, () => {
  it('serves whoever asks little at once and gives the rest to the greedy one; what it bears it says in words', async (t) => {
    const network = await networkFor(t, {
      names: ['Alice', 'Bob'],
      config: () => ({ qkd: { pipeline: 'off' } }),
      kme: { rateBps: RATE_BPS, bufferBytes: 8 * KEY_BYTES },
    });
    const [alice, bob] = network.nodes as [LocalNode, LocalNode];
    const open = async (gapMs: number, priority = 0) =>
      new Readers(
        await openPair(network, openData(alice, bob, undefined, { timeout: 4_000, priority })),
        gapMs,
      );
    const modest = await Promise.all(Array.from({ length: MODEST }, () => open(MODEST_GAP_MS)));
    const urgent = await open(MODEST_GAP_MS, 7);
    const greedy = await open(0);
    const all = [...modest, urgent, greedy];
    const during = async (ms: number) => {
      const fromMs = Date.now();
      await delay(ms);
      return { fromMs, toMs: Date.now() };
    };
    const ofModest = ({ fromMs, toMs }: { fromMs: number; toMs: number }) =>
      [...modest, urgent].flatMap((one) => one.asked(fromMs, toMs));

    // Everybody opens and reads the first keys, of which the key managers had saved some.
    await during(6_000);
    const before = network.kme.state().ends.map(({ deliveredBytes }) => deliveredBytes);
    const readBefore = all.map(({ history }) => served(history));
    const steady = await during(STEADY_MS);
    const after = network.kme.state().ends.map(({ deliveredBytes }) => deliveredBytes);
    const quiet = { fromMs: steady.fromMs, toMs: steady.toMs - 4_000 };
    const asked = ofModest(quiet);
    const taken = after.reduce((sum, bytes, end) => sum + bytes - (before[end] ?? 0), 0) / KEY_BYTES;
    const delivered = all.reduce((sum, { history }, i) => sum + served(history) - (readBefore[i] ?? 0), 0);
    const left = served(greedy.asked(quiet.fromMs, quiet.toMs));
    t.diagnostic(
      `steady: ${asked.length} modest GET_KEYs, the slowest ${slowest(asked)} ms; ${left} for the greedy one; ` +
        `${delivered} of ${taken} keys delivered, ${(delivered / taken).toFixed(3)}`,
    );
    assert.equal(served(asked), asked.length, 'a modest GET_KEY was refused');
    assert.ok(slowest(asked) <= MODEST_LIMIT_MS, `a modest GET_KEY took ${slowest(asked)} ms`);
    assert.ok(left > asked.length / 4, 'the greedy one got less than was left');
    assert.ok(delivered / taken >= 0.97, `${delivered} of ${taken} keys were delivered`);

    network.kme.setRate(RATE_BPS / 2);
    const halved = ofModest(await during(12_000));
    network.kme.setRate(0);
    const stopped = ofModest(await during(12_000));
    for (const { status, message } of [...halved, ...stopped].filter((entry) => entry.status !== 0)) {
      assert.ok(status === 2 || status === 6, `status ${status}: ${message}`);
      assert.notEqual(message, '');
    }
    t.diagnostic(
      `halved: ${served(halved)} of ${halved.length} served; stopped: ${served(stopped)} of ${stopped.length}`,
    );
    assert.ok(served(halved) > 0, 'half of the link served nobody');

    network.kme.setRate(RATE_BPS);
    await during(RESTORED_MS);
    const restored = ofModest({ ...(await during(8_000)) });
    t.diagnostic(`restored: ${served(restored)} of ${restored.length}, the slowest ${slowest(restored)} ms`);
    assert.equal(served(restored), restored.length, 'a modest GET_KEY was refused once the link was back');
    assert.ok(slowest(restored) <= MODEST_LIMIT_MS, `a modest GET_KEY took ${slowest(restored)} ms`);

    await Promise.all(all.map((one) => one.stop()));
    for (const { history } of all) assert.deepEqual(breaches(history, KEY_BYTES), []);
  });
});
