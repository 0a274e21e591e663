import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { DemandResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../sources/node-services.ts';
import { KeyStream } from './key-stream.ts';
import { ResponderDemand } from './responder-demand.ts';
import type { ResponderExchange } from './responder-exchange.ts';
import { parseStreamTerms } from './stream-terms.ts';

let stream: KeyStream;
let demand: ResponderDemand;
let nowMs: number;
let askedMs: number[];
/** What the initiator answers; thrown where it is an error of the call. */
let answer: () => DemandResponse;

const lastWord = (reason: ErrorReason, detail = 'words') => ({ buffered: 0, failure: { reason, detail } });

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  nowMs = 0;
  askedMs = [];
  stream = new KeyStream({
    id: '11111111-1111-4111-8111-111111111111',
    terms: parseStreamTerms(
      'hybrid://app@aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
      'hybrid://app@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
      { method: 'hkdf-sha384', keySources: ['ML-KEM-768', 'QKD'] },
    ),
    role: 'responder',
    peerNode: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
    qos: {
      ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 8_000, ttlS: 0 },
      metadataMimetype: '',
    },
    predefined: false,
    allowDegraded: true,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    now: () => nowMs,
  });
  stream.peer = 'joined';
  const services = {
    now: () => nowMs,
    log: silentLog,
    peer: () => ({
      demand: async () => {
        askedMs.push(nowMs);
        return answer();
      },
    }),
  } as unknown as NodeServices;
  demand = new ResponderDemand(services, { stream, coming: 0 } as unknown as ResponderExchange);
  stream.supply = demand;
});
afterEach(() => {
  demand.stop();
  mock.timers.reset();
});

async function pass(ms: number): Promise<void> {
  for (let end = nowMs + ms; nowMs < end; ) {
    nowMs += 10;
    mock.timers.tick(10);
    for (let i = 0; i < 10; i++) await Promise.resolve();
  }
}

function get() {
  const outcome: { index?: number; error?: unknown } = {};
  Promise.resolve(stream.take(undefined, 8_000, () => undefined)).then(
    (taken) => {
      outcome.index = taken.index;
    },
    (error: unknown) => {
      outcome.error = error;
    },
  );
  return outcome;
}

describe('a responder whose initiator has no room', () => {
  it('asks again while somebody waits, ever more rarely, and gets the key once there is room', async () => {
    answer = () => lastWord('NO_ROOM');
    const waiting = get();
    await pass(5_000);
    assert.deepEqual(waiting, {}, 'who waits was told too early');
    const gaps = askedMs.slice(1).map((ms, i) => ms - (askedMs[i] as number));
    assert.deepEqual(
      gaps.slice(0, 5).map((ms) => Math.round(ms / 50) * 50),
      [50, 100, 200, 400, 800],
    );
    assert.ok(Math.max(...gaps) <= 1_010, `gaps of ${gaps}`);
    answer = () => {
      stream.release(0, Buffer.alloc(32, 1), false);
      return { buffered: 0, failure: undefined };
    };
    await pass(1_100);
    assert.equal(waiting.index, 0);
  });

  it('tells who waits what for when the time has run out, and then asks no more', async () => {
    answer = () => lastWord('NO_ROOM', 'the other end holds 16 unread keys');
    const waiting = get();
    await pass(9_500);
    assert.ok(isReason(waiting.error, 'NO_ROOM'), `${waiting.error}`);
    assert.match(`${waiting.error}`, /16 unread keys/);
    const { length } = askedMs;
    await pass(10_000);
    assert.equal(askedMs.length, length);
  });
});

describe('a responder whose initiator has failed', () => {
  for (const reason of ['TIMEOUT', 'SERVICE_UNAVAILABLE', 'QKD_UNAVAILABLE', 'SOURCE_FAULT'] as const) {
    it(`tells who waits at once where ${reason} is the initiator's last word`, async () => {
      answer = () => lastWord(reason, 'its own words');
      const waiting = get();
      await pass(150);
      assert.ok(isReason(waiting.error, reason), `${waiting.error}`);
      assert.equal(askedMs.length, 1);
    });
  }

  it('asks again where it is the call that failed, and then tells who waits', async () => {
    answer = () => {
      throw new KeyweaveError('TIMEOUT', 'the peer-broker did not answer in time');
    };
    const waiting = get();
    await pass(300);
    assert.deepEqual(waiting, {});
    await pass(2_000);
    assert.ok(isReason(waiting.error, 'TIMEOUT'));
    assert.equal(askedMs.length, 5);
  });

  it('closes where the initiator no longer knows the stream', async () => {
    answer = () => lastWord('UNKNOWN_STREAM');
    const waiting = get();
    await pass(200);
    assert.ok(isReason(waiting.error, 'PEER_APPLICATION_ABSENT'));
    assert.equal(stream.peer, 'closed');
  });
});
