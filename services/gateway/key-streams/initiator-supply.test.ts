import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { answerOf, keyStream, LIVING, termsOf } from '../../../test/helpers/streams.ts';
import type { NodeServices } from '../sources/node-services.ts';
import { type Batch, InitiatorSupply } from './initiator-supply.ts';
import type { KeyStream } from './key-stream.ts';
import { ResponderExchange } from './responder-exchange.ts';
import { SourceFaults } from './source-faults.ts';
import type { StreamTerms } from './stream-terms.ts';

/** Batches that the supply has begun, oldest first. */
let begun: Batch[];
let stream: KeyStream;
let supply: InitiatorSupply;
let nowMs: number;
let qkdOpened: number;
let faults: SourceFaults;

function begin(keySources: readonly string[], blockKeys = 1): void {
  begun = [];
  qkdOpened = 0;
  faults = new SourceFaults(silentLog);
  const services = {
    now: () => nowMs,
    log: silentLog,
    limits: { max_batch_chunks: 256 },
    qkd: { join: 'uris', timeout: 1_000, block_keys: blockKeys },
    sourceFaults: faults,
    qkdSource: {
      openQkd: async () => {
        qkdOpened += 1;
        return { qkdKeyStreamId: `qkd ${qkdOpened}` };
      },
      closeQkd: async () => ({}),
    },
  } as unknown as NodeServices;
  stream = streamOf('initiator', termsOf('hkdf-sha384', keySources));
  stream.peer = 'joined';
  supply = new InitiatorSupply(services, stream, {
    enqueue: (one) => {
      if (one.hungry > 0) begun.push(one.begin(one.hungry));
    },
  });
  stream.supply = supply;
}

function streamOf(role: 'initiator' | 'responder', terms: StreamTerms, maxBufferedChunks = 16): KeyStream {
  const qos = { timeoutMs: 60_000 };
  return keyStream({ terms, role, qos, allowDegraded: true, maxBufferedChunks, now: () => nowMs });
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  nowMs = 0;
  begin(['ML-KEM-768', 'QKD']);
});
afterEach(() => {
  supply.stop();
  mock.timers.reset();
});

const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

async function pass(ms: number): Promise<void> {
  nowMs += ms;
  mock.timers.tick(ms);
  await settle();
}

const last = () => begun.at(-1) as Batch;

async function fails(batch: Batch, reason: ErrorReason, detail = 'words'): Promise<void> {
  supply.end(batch, 0, Promise.reject(new KeyweaveError(reason, detail)));
  await settle();
}

/** Why a responder that has no room refuses `batch`. */
function refusalOf(batch: Batch): KeyweaveError {
  const full = streamOf('responder', stream.terms, 1);
  full.release(0, Buffer.alloc(32, 1), false);
  try {
    new ResponderExchange({} as NodeServices, full).admit({
      keyStreamId: full.idBytes,
      incarnation: full.incarnation,
      firstIndex: batch.first,
      count: batch.count,
      publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(batch.count * 1184) }],
      qkd: batch.qkd,
      degradedSlot: batch.degradedSlot,
    });
  } catch (error) {
    return error as KeyweaveError;
  }
  throw new Error('a responder without room has taken the batch');
}

async function succeeds(batch: Batch): Promise<void> {
  supply.answered(batch, answerOf(batch.count));
  supply.end(batch, batch.count, Promise.resolve(Buffer.alloc(batch.count * 32, 1)));
  await settle();
}

/** A GET_KEY that waits, and what became of it. */
function get(index?: number) {
  const outcome: { index?: number; error?: unknown } = {};
  const chunk = stream.take(index, 60_000, () => undefined, LIVING);
  Promise.resolve(chunk).then(
    (taken) => {
      outcome.index = taken.index;
    },
    (error: unknown) => {
      outcome.error = error;
    },
  );
  return outcome;
}

describe('an initiator whose other end has no room', () => {
  beforeEach(async () => {
    get();
    await settle();
    await succeeds(last());
    while (stream.buffer.take());
    begun = [];
  });

  it('degrades nothing, keeps its QKD stream and its indexes, and fails nobody who waits', async () => {
    const waiting = get();
    await settle();
    const { first, count, qkd } = last();
    for (let i = 0; i < 20; i++) {
      const { reason, detail } = refusalOf(last());
      await fails(last(), reason, detail);
      await pass(1_100);
      assert.equal(begun.length, i + 2, 'the batch was not offered again');
      assert.equal(last().degradedSlot, 0, 'a shared_seed stands in though QKD is well');
      assert.deepEqual(last().qkd, qkd, 'the QKD stream was left');
      assert.equal(last().first, first, 'indexes were burned though nobody has used them');
      assert.deepEqual(waiting, {});
    }
    assert.equal(qkdOpened, 1);
    assert.equal(supply.alone, false, 'it counts as trouble');
    await succeeds(last());
    assert.equal(waiting.index, first);
    assert.ok(count >= 1);
  });

  it('asks at growing intervals of 50 ms to 1 s, and from the start after it has found room', async () => {
    const gaps = async () => {
      const found: number[] = [];
      for (let i = 0; i < 7; i++) {
        const before = begun.length;
        await fails(last(), 'NO_ROOM');
        let ms = 0;
        for (; begun.length === before && ms < 5_000; ms += 10) await pass(10);
        found.push(ms);
      }
      return found;
    };
    get();
    await settle();
    const first = await gaps();
    for (const [i, ms] of first.entries()) {
      const expected = Math.min(1_000, 50 * 2 ** i);
      assert.ok(ms >= expected && ms <= expected + 20, `pauses of ${first}`);
    }
    await succeeds(last());
    while (stream.buffer.take());
    get();
    await settle();
    assert.deepEqual((await gaps()).slice(0, 2), first.slice(0, 2));
  });

  it('asks for nobody: where no one waits nothing is offered until the next GET_KEY', async () => {
    supply.want(3);
    await settle();
    await fails(last(), 'NO_ROOM');
    const offered = begun.length;
    await pass(60);
    await pass(10_000);
    assert.equal(begun.length, offered);
    get();
    await settle();
    assert.equal(begun.length, offered + 1);
  });

  it('tells the other end that asks, and lets one who named an index wait on', async () => {
    const index = stream.buffer.nextIndex;
    const waiting = get(index);
    await settle();
    supply.demand(1, true);
    await fails(last(), 'NO_ROOM', 'full');
    assert.throws(
      () => supply.demand(1, true),
      (error) => isReason(error, 'NO_ROOM'),
    );
    await pass(60);
    await succeeds(last());
    assert.equal(waiting.index, index);
  });

  it('names it to who waits when the time has run out', async () => {
    const waiting = get();
    await settle();
    await fails(last(), 'NO_ROOM', 'the other end holds 16 unread keys');
    for (let i = 0; i < 61; i++) await pass(1_000);
    assert.ok(isReason(waiting.error, 'NO_ROOM'), `${waiting.error}`);
    assert.match(`${waiting.error}`, /holds 16 unread keys/);
  });

  it('uses an index never again that both ends have agreed on, whatever the other end says later', async () => {
    const waiting = get();
    await settle();
    const batch = last();
    supply.answered(batch, answerOf(batch.count));
    supply.end(batch, batch.count, Promise.reject(new KeyweaveError('NO_ROOM', 'so it says')));
    await settle();
    await pass(1_100);
    assert.ok(last().first >= batch.first + batch.count, 'an index was used twice');
    assert.notEqual(last(), batch);
    assert.equal(waiting.index, undefined);
  });

  it('keeps reading QKD keys in blocks', async () => {
    begin(['ML-KEM-768', 'QKD'], 16);
    for (let i = 0; i < 60; i++) {
      nowMs += 5;
      stream.depth.noteGet(nowMs);
    }
    supply.qkd.renew(16);
    get();
    await settle();
    assert.equal(last().qkd?.blockKeys, 16);
    await fails(last(), 'NO_ROOM');
    await pass(60);
    assert.equal(last().qkd?.blockKeys, 16);
  });
});

describe('an initiator whose source is missing', () => {
  const degradedAfter = async (...reasons: ErrorReason[]) => {
    get();
    await settle();
    for (const reason of reasons) {
      await fails(last(), reason);
      await pass(1_100);
    }
    return last().degradedSlot;
  };

  it('lets the seed stand in for QKD at once where no key came', async () => {
    assert.equal(await degradedAfter('QKD_UNAVAILABLE'), 2);
  });

  it('reopens a QKD stream that has lost step before it counts as missing', async () => {
    assert.equal(await degradedAfter('QKD_OUT_OF_STEP'), 0);
    begin(['ML-KEM-768', 'QKD']);
    assert.equal(await degradedAfter('QKD_OUT_OF_STEP', 'QKD_OUT_OF_STEP'), 2);
  });

  it('never lets it stand in for a source that gives faulty keys', async () => {
    const waiting = get();
    await settle();
    for (let i = 0; i < 2; i++) {
      await fails(last(), 'SOURCE_FAULT', 'slots 1 and 2 gave the same secret');
      await pass(1_100);
    }
    assert.equal(last().degradedSlot, 0);
    assert.ok(isReason(waiting.error, 'SOURCE_FAULT'));
    assert.equal(faults.total, 2);
  });

  it('lets nothing stand in where the list is not of QKD and one KEM', async () => {
    for (const sources of [['QKD'], ['QKD', 'QKD'], ['ML-KEM-768', 'QKD', 'ML-KEM-768']]) {
      begin(sources);
      assert.equal(await degradedAfter('QKD_UNAVAILABLE'), 0, `${sources}`);
      supply.stop();
    }
  });
});
