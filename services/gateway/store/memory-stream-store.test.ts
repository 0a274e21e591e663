import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { LONGEST_TIMER_MS } from '#common/time/long-timer.ts';
import { ALICE, CAROL, keyStream } from '#test/helpers/streams.ts';
import type { HeldBatches } from '../production/responder/held-batches.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { MemoryStreamStore } from './memory-stream-store.ts';

const DAY_S = 86_400;

/** The `n`-th stream with a peer. */
const streamOf = (n: number, peerNode = ALICE) =>
  Object.assign(keyStream({ id: `11111111-1111-4111-8111-00000000000${n}` }), { peerNode });

describe('MemoryStreamStore', () => {
  let nowMs: number;
  let registry: MemoryStreamStore;

  beforeEach(() => {
    mock.timers.reset();
    mock.timers.enable({ apis: ['setTimeout'] });
    nowMs = 0;
    registry = new MemoryStreamStore({
      ...{ maxStreams: 3, onExpiry: () => undefined, now: () => nowMs },
      quotas: { streams: 2, offers: 2, heldBytes: 1_000 },
    });
  });

  it('holds one stream of a KSID, and forgets no other than the one that is meant', () => {
    const [held, other] = [streamOf(1), streamOf(1)];
    registry.add(held);
    assert.throws(
      () => registry.add(other),
      (error) => isReason(error, 'KSID_IN_USE') && /key_stream_id 11111111… is in use/.test(`${error}`),
    );
    registry.remove(other);
    assert.equal(registry.get(held.id), held);
    registry.remove(held);
    assert.deepEqual([registry.get(held.id), registry.size, [...registry.all()]], [undefined, 0, []]);
  });

  it('holds as many as the node and the peer’s quota allow, each named, and a new one for each that goes', () => {
    const [first, second, third] = [streamOf(1), streamOf(2), streamOf(3, CAROL)];
    registry.add(first);
    registry.add(second);
    assert.throws(() => registry.add(streamOf(4)), /LIMIT_EXCEEDED: .*limit of 2 .*max_streams_per_peer/);
    registry.add(third);
    assert.throws(
      () => registry.add(streamOf(4, CAROL)),
      /LIMIT_EXCEEDED: .*limit of 3 open streams \(limits.max_streams\)/,
    );
    registry.remove(third);
    registry.remove(first);
    registry.add(streamOf(5));
    assert.throws(() => registry.add(streamOf(6)), /max_streams_per_peer/);
  });

  it('stops the responder’s half of a stream that leaves it', () => {
    const stream = streamOf(1);
    let stopped = 0;
    const exchange = { stop: () => stopped++ } as unknown as HeldBatches;
    registry.add(stream, exchange);
    assert.equal(registry.exchangeOf(stream), exchange);
    registry.remove(stream);
    assert.equal(stopped, 1);
  });

  it('counts what is held for each peer by itself', () => {
    registry.heldFor(ALICE).change(600);
    assert.deepEqual(
      [ALICE, CAROL].map((peer) => registry.heldFor(peer).room),
      [400, 1_000],
    );
  });

  it('remembers what has ended for ten minutes of the clock that it is given, or else of its own', () => {
    const own = new MemoryStreamStore({ maxStreams: 1, onExpiry: () => undefined });
    for (const { ended } of [registry, own]) {
      const { id, incarnation } = streamOf(1);
      ended.note(streamOf(1));
      assert.equal(ended.has(ALICE, id, incarnation), true);
    }
    nowMs = 600_000;
    const { id, incarnation } = streamOf(1);
    assert.equal(registry.ended.has(ALICE, id, incarnation), false);
  });
});

describe("a stream's TTL (ETSI GS QKD 004 V2.1.1, Table 2)", () => {
  let passedMs: number;
  let expiredAtS: number[];
  let registry: MemoryStreamStore;

  /** From one end of a longest timer to the next, since a mock's timer that follows on another begins with the step. */
  const pass = (seconds: number) => {
    const untilMs = passedMs + seconds * 1_000;
    while (passedMs < untilMs) {
      const stepMs = Math.min(untilMs - passedMs, LONGEST_TIMER_MS - (passedMs % LONGEST_TIMER_MS));
      passedMs += stepMs;
      mock.timers.tick(stepMs);
    }
  };
  const add = (ttlS: number) => registry.add({ id: `ttl-${ttlS}`, qos: { ttlS } } as KeyStream);

  beforeEach(() => {
    mock.timers.reset();
    mock.timers.enable({ apis: ['setTimeout'] });
    passedMs = 0;
    expiredAtS = [];
    registry = new MemoryStreamStore({ maxStreams: 10, onExpiry: () => expiredAtS.push(passedMs / 1_000) });
  });

  for (const [ttlS, livesS] of [
    [0, DAY_S],
    [60, 60],
    [60 * DAY_S, 60 * DAY_S],
    [0xffffffff, 0xffffffff],
  ] as const) {
    it(`of ${ttlS} s ends it after ${livesS} s`, () => {
      add(ttlS);
      pass(livesS - 1);
      assert.deepEqual(expiredAtS, [], 'too early');
      pass(1);
      assert.equal(expiredAtS.length, 1);
    });
  }

  it('is over with the stream', () => {
    add(60 * DAY_S);
    pass(30 * DAY_S);
    const [stream] = [...registry.all()];
    registry.remove(stream as KeyStream);
    pass(60 * DAY_S);
    assert.deepEqual(expiredAtS, []);
  });
});
