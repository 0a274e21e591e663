import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { keyOf, openData, openPair, type Pair, twoNodes } from '../helpers/network.ts';

/** More than one message, or one HTTP/2 session, takes at a time. */
const STREAMS = 1400;
const TIMEOUT_MS = 2_500;

/** Every GET_KEY is answered in this time; what hangs takes ten times as long. */
const ANSWER_LIMIT_MS = TIMEOUT_MS + 4_000;

/** Each stream's keys come at about this pace. */
const PACE_MS = 4_000;

/** After a refusal an application waits a moment. */
const REFUSED_PAUSE_MS = 300;
const RECOVERY_LIMIT_MS = 10_000;

/** The peer-broker stays away until every stream has felt it. */
const AWAY_MS = 2_000;

/** Sooner than this no service is back; what was confirmed within it was under way at the kill. */
const BACK_AT_THE_EARLIEST_MS = 300;

/** A stream in use: both ends ask for the next key, again and again. */
class Load {
  readonly pair: Pair;
  /** Keys by index that one end has and the other has not been given yet. */
  readonly #unmatched = new Map<number, { end: number; key: string }>();
  /** When the newest key of each end was confirmed. */
  readonly newestMs: [number, number] = [0, 0];
  readonly last: [string, string] = ['', ''];
  /** What must never be. */
  readonly faults: string[] = [];
  slowestMs = 0;
  refused = 0;
  #stopped = false;
  #wakeMs = 0;

  constructor(pair: Pair) {
    this.pair = pair;
  }

  /** Asks without pauses until both ends have a key that was confirmed after `ms`. */
  hurry(ms: number): void {
    this.#wakeMs = ms;
  }

  stop(): void {
    this.#stopped = true;
  }

  get recovered(): boolean {
    return Math.min(...this.newestMs) >= this.#wakeMs;
  }

  async run(): Promise<void> {
    while (!this.#stopped) {
      const started = Date.now();
      const served = await Promise.all([this.#ask(0), this.#ask(1)]);
      const settled = this.recovered && served.every((one) => one);
      const end = settled ? started + PACE_MS : Date.now() + REFUSED_PAUSE_MS;
      while (!this.#stopped && Date.now() < end && (!settled || this.recovered)) await pause(100);
    }
  }

  async #ask(end: 0 | 1): Promise<boolean> {
    const started = Date.now();
    const client = end === 0 ? this.pair.a : this.pair.b;
    const answer: JsonAnswer = await client
      .getKey(this.pair.ksid)
      .catch((error: Error) => ({ status: -1, message: error.message }) as JsonAnswer);
    const now = Date.now();
    this.slowestMs = Math.max(this.slowestMs, now - started);
    this.last[end] = `${answer.status} ${answer.message ?? ''}`;
    if (answer.status !== 0) {
      this.refused += 1;
      return false;
    }
    const { age } = JSON.parse(answer.metadata?.buffer ?? '{}') as { age: number };
    this.newestMs[end] = Math.max(this.newestMs[end], now - age);
    this.#compare(end, answer.index as number, keyOf(answer).toString('hex'));
    return true;
  }

  #compare(end: 0 | 1, index: number, key: string): void {
    const other = this.#unmatched.get(index);
    if (!other) this.#unmatched.set(index, { end, key });
    else {
      if (other.end === end) this.faults.push(`index ${index} was delivered twice`);
      else if (other.key !== key) this.faults.push(`the two ends have different keys at index ${index}`);
      this.#unmatched.delete(index);
    }
  }
}

const { network, alice, bob } = await twoNodes({
  // Little is held ahead, so that an outage is felt at once.
  config: () => ({ limits: { max_prefetch_chunks: 1 } }),
});
let streams: Load[];
let running: Promise<void>[];

before(async () => {
  streams = [];
  for (let i = 0; i < STREAMS; i += 100) {
    const opening = Array.from({ length: 100 }, () => openStream());
    streams.push(...(await Promise.all(opening)).map((pair) => new Load(pair)));
  }
  running = streams.map((stream) => stream.run());
  await recoverFrom(1);
});

after(async () => {
  for (const stream of streams) {
    stream.stop();
    stream.pair.a.disconnect();
    stream.pair.b.disconnect();
  }
  await Promise.allSettled(running);
});

/** Opens a stream; its timeout, which is short, holds for the opening too, so a busy machine gets a second try. */
async function openStream(): Promise<Pair> {
  for (let attempt = 0; ; attempt++) {
    const qos = { timeout: TIMEOUT_MS, max_bps: 0 };
    const pair = await openPair(network, openData(alice, bob, undefined, qos));
    if (pair.opened.every(({ status }) => status === 0)) return pair;
    await pair.close();
    assert.ok(attempt < 5, pair.opened.map(({ status, message }) => `${status} ${message}`).join(' / '));
  }
}

/** Milliseconds until every stream has had a key at both ends that was confirmed after `wakeMs`. */
async function recoverFrom(wakeMs: number, limitMs = 60_000): Promise<number> {
  const started = Date.now();
  for (const stream of streams) {
    stream.refused = 0;
    stream.slowestMs = 0;
    stream.hurry(wakeMs);
  }
  while (streams.some((stream) => !stream.recovered)) {
    if (Date.now() - started > limitMs) {
      const behind = streams.filter((stream) => !stream.recovered);
      throw new Error(
        `${behind.length} of ${STREAMS} streams have no new key after ${limitMs} ms; the first: ${behind[0]?.last}`,
      );
    }
    await pause(50);
  }
  return Date.now() - started;
}

function report(context: TestContext, what: string, ms: number): void {
  const refused = streams.reduce((sum, stream) => sum + stream.refused, 0);
  const slowest = Math.max(...streams.map((stream) => stream.slowestMs));
  context.diagnostic(`${what}: ${ms} ms; ${refused} GET_KEYs refused, the slowest took ${slowest} ms`);
}

describe(`${STREAMS} streams, kill -9 of each service of one node in turn`, () => {
  for (const service of ['peer-broker', 'pqc-source', 'qkd-source', 'hybridizer'] as const) {
    it(`${service}: every stream serves again within ${RECOVERY_LIMIT_MS} ms`, async (context) => {
      const away = service === 'peer-broker' ? AWAY_MS : 0;
      if (away > 0) bob.process.kill('SIGSTOP');
      process.kill(bob.services[service]?.pid as number, 'SIGKILL');
      setTimeout(() => bob.process.kill('SIGCONT'), away);
      const ms = await recoverFrom(Date.now() + away + BACK_AT_THE_EARLIEST_MS);
      report(context, 'all serve again after', ms);
      assert.ok(ms <= RECOVERY_LIMIT_MS, `after ${ms} ms`);
      for (const { slowestMs, faults } of streams) {
        assert.ok(slowestMs < ANSWER_LIMIT_MS, `${slowestMs} ms`);
        assert.deepEqual(faults, []);
      }
    });
  }

  it('gateway: every stream ends in words at the other node, and new ones open', async (context) => {
    const started = Date.now();
    process.kill(bob.services.gateway?.pid as number, 'SIGKILL');
    for (const stream of streams) {
      stream.stop();
      stream.pair.b.disconnect();
    }
    const ended = streams.map(async ({ pair }) => {
      for (;;) {
        const asked = Date.now();
        const { status, message } = await pair.a.getKey(pair.ksid);
        assert.ok(Date.now() - asked < ANSWER_LIMIT_MS, `answered after ${Date.now() - asked} ms`);
        if (status === 3) return assert.match(message ?? '', /no longer knows this stream|has closed/);
        assert.ok(Date.now() - started < RECOVERY_LIMIT_MS, `status ${status}: ${message}`);
        if (status !== 0) await pause(200);
      }
    });
    await Promise.all(ended);
    const endedMs = Date.now() - started;
    const fresh = await openPair(network, openData(alice, bob));
    const keys = await Promise.all([fresh.a.getKey(fresh.ksid), fresh.b.getKey(fresh.ksid)]);
    assert.deepEqual(keyOf(keys[0]), keyOf(keys[1]));
    context.diagnostic(`all ended after ${endedMs} ms`);
    await fresh.close();
  });
});
