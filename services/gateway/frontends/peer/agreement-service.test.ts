import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type CallContext, Metadata } from 'nice-grpc';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { CALL_LIMITS, MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { BatchAnswer, KeyAgreementServiceImplementation } from '#gen/keyweave/v1/key_agreement.ts';
import { LIVING } from '#test/helpers/streams.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import type { Rendezvous } from '../../opening/rendezvous.ts';
import { type Batch, InitiatorProducer } from '../../production/initiator/initiator-producer.ts';
import type { HeldBatches } from '../../production/responder/held-batches.ts';
import { SourceFaults } from '../../production/source-faults.ts';
import { MemoryStreamStore } from '../../store/memory-stream-store.ts';
import { KeyStream } from '../../streams/key-stream.ts';
import { parseStreamTerms } from '../../streams/stream-terms.ts';
import { createAgreementService } from './agreement-service.ts';

const OWN = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const PEER = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const OTHER = 'cccccccc-cccc-cccc-cccc-cccccccccccc';

const INCARNATION = Buffer.alloc(8, 7);

let nowMs: number;
let stream: KeyStream;
let supply: InitiatorProducer;
let registry: MemoryStreamStore;
let service: KeyAgreementServiceImplementation;
/** Encapsulations that wait for the test. */
let encapsulations: PromiseWithResolvers<never>[];

const context = (peer: string) =>
  ({ metadata: Metadata({ [PEER_METADATA]: peer }) }) as unknown as CallContext;

function streamOf(role: 'initiator' | 'responder', id: string): KeyStream {
  return new KeyStream({
    id,
    incarnation: INCARNATION,
    terms: parseStreamTerms(`hybrid://app@${OWN}`, `hybrid://app@${PEER}`, {
      method: 'hkdf-sha384',
      keySources: ['ML-KEM-768'],
    }),
    role,
    peerNode: PEER,
    qos: {
      ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 1000, ttlS: 0 },
      metadataMimetype: '',
    },
    predefined: false,
    allowDegraded: false,
    maxPrefetchChunks: 4,
    maxBufferedChunks: 4,
    now: () => nowMs,
  });
}

beforeEach(() => {
  nowMs = 0;
  encapsulations = [];
  const services = {
    now: () => nowMs,
    log: silentLog,
    sourceFaults: new SourceFaults(silentLog),
    limits: { max_batch_chunks: 256 },
    qkd: { block_keys: 1 },
    pqcSource: {
      encapsulate: () => {
        const held = Promise.withResolvers<never>();
        encapsulations.push(held);
        return held.promise;
      },
    },
  } as unknown as NodeServices;
  registry = new MemoryStreamStore({ maxStreams: 100, onExpiry: () => undefined });
  stream = streamOf('initiator', '11111111-1111-4111-8111-111111111111');
  supply = new InitiatorProducer(services, stream, { enqueue: () => undefined });
  stream.supply = supply;
  registry.add(stream);
  service = createAgreementService({
    nodeUuid: OWN,
    services,
    registry,
    rendezvous: { openingOver: () => undefined, forget: () => undefined } as unknown as Rendezvous,
    assertUsable: async () => undefined,
  });
});
afterEach(() => {
  for (const one of [...store.all()]) registry.remove(one);
  stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
});

const demand = async (keyStreamId = stream.idBytes, peer = PEER) => {
  const answer = await service.demand(
    { demands: [{ keyStreamId, incarnation: INCARNATION, count: 3, waitedFor: true }] },
    context(peer),
  );
  return answer.answers?.[0]?.failure?.reason ?? 'noted';
};

/** The supply's next batch fails. */
async function failBatch(reason: 'QKD_UNAVAILABLE' | 'PEER_UNREACHABLE'): Promise<void> {
  nowMs += 10_000;
  const batch: Batch = supply.begin(supply.offerable);
  supply.end(batch, 0, Promise.reject(new KeyweaveError(reason, 'as the test says')));
  await new Promise((resolve) => setImmediate(resolve));
}

describe('Close at the initiator', () => {
  const released = Buffer.alloc(32, 7);

  /** A batch whose release at the other end is not known here yet. */
  function confirming(): PromiseWithResolvers<Buffer> {
    const outcome = Promise.withResolvers<Buffer>();
    supply.end(supply.begin(1), 1, outcome.promise);
    return outcome;
  }
  const close = () =>
    service.close({ keyStreamId: stream.idBytes, incarnation: INCARNATION, reason: 'done' }, context(PEER));

  it('waits for what the other end may have read, so that no key is given to one end alone', async () => {
    stream.local = 'joined';
    const outcome = confirming();
    const waiting = stream.take(undefined, 5_000, () => undefined, LIVING);
    const closed = close();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(stream.peer, 'absent', 'the end came before the answer to the confirmation');
    outcome.resolve(released);
    assert.equal((await waiting).index, 0);
    await closed;
    assert.equal(stream.peer, 'closed');
  });

  it('is answered in time where that takes long, and ends the stream all the same when it is known', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    stream.local = 'joined';
    const outcome = confirming();
    const waiting = Promise.resolve(stream.take(undefined, 60_000, () => undefined, LIVING));
    const closed = close();
    t.mock.timers.tick(2_501);
    await closed;
    assert.equal(stream.peer, 'absent');
    outcome.reject(new KeyweaveError('AGREEMENT_FAILED', 'dropped'));
    await assert.rejects(waiting, /PEER_APPLICATION_ABSENT|AGREEMENT_FAILED/);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(stream.peer, 'closed');
  });
});

describe('Demand at the initiator', () => {
  it('is noted at once, and makes chunks wanted', async () => {
    assert.equal(supply.offerable, 0);
    assert.equal(await demand(), 'noted');
    assert.equal(supply.offerable, 3);
    assert.equal(supply.urgent, true);
    assert.equal(await demand(), 'noted');
    assert.equal(supply.offerable, 3, 'a question that is repeated counts twice');
  });

  it('tells the next question, once, why nothing could be made', async () => {
    await demand();
    await failBatch('QKD_UNAVAILABLE');
    assert.equal(await demand(), 'noted', 'it is still being tried');
    await failBatch('QKD_UNAVAILABLE');
    assert.equal(supply.offerable, 0);
    assert.equal(await demand(), 'QKD_UNAVAILABLE');
    assert.equal(supply.offerable, 0, 'who has been told has to ask again');
    nowMs += 10_000;
    assert.equal(await demand(), 'noted');
    assert.equal(supply.offerable, 3);
  });

  it('does not tell of failures that the other end had not asked about', async () => {
    supply.want(2);
    await failBatch('QKD_UNAVAILABLE');
    await failBatch('QKD_UNAVAILABLE');
    assert.equal(await demand(), 'noted');
  });

  it('does not tell of failures that are long past', async () => {
    await demand();
    await failBatch('QKD_UNAVAILABLE');
    await failBatch('QKD_UNAVAILABLE');
    nowMs += 60_000;
    assert.equal(await demand(), 'noted');
  });

  it('refuses, each for itself, streams that are unknown, of another peer, full, or led by the other end', async () => {
    const led = streamOf('responder', '22222222-2222-4222-8222-222222222222');
    registry.add(led);
    assert.equal(await demand(Buffer.alloc(16, 9)), 'UNKNOWN_STREAM');
    assert.equal(await demand(stream.idBytes, OTHER), 'UNKNOWN_STREAM');
    assert.equal(await demand(led.idBytes), 'BAD_REQUEST');
    stream.release(0, Buffer.alloc(4 * 32), false);
    assert.equal(await demand(), 'NO_ROOM');
    const both = [Buffer.alloc(16, 9), stream.idBytes].map((keyStreamId) => ({
      keyStreamId,
      incarnation: INCARNATION,
      count: 1,
      waitedFor: false,
    }));
    stream.buffer.wipe();
    const { answers } = await service.demand({ demands: both }, context(PEER));
    assert.deepEqual(
      answers?.map(({ failure }) => failure?.reason),
      ['UNKNOWN_STREAM', undefined],
    );
  });
});

describe('limits of one message and of one peer', () => {
  it('refuses lists that are too long, and says how long they may be', async () => {
    const keyStreamId = stream.idBytes;
    const confirmation = {
      keyStreamId,
      incarnation: INCARNATION,
      firstIndex: 0,
      count: 1,
      initiatorTags: Buffer.alloc(32),
    };
    const { confirmations, demands } = MESSAGE_LIMITS;
    await assert.rejects(
      service.confirm(
        { confirmations: Array.from({ length: confirmations.taken + 1 }, () => confirmation) },
        context(PEER),
      ),
      (error) =>
        isReason(error, 'BAD_REQUEST') &&
        String(error).includes(`at most ${confirmations.taken} confirmations`),
    );
    const full = Array.from({ length: confirmations.taken }, () => confirmation);
    assert.equal(
      (await service.confirm({ confirmations: full }, context(PEER))).decisions?.length,
      full.length,
    );
    const one = { keyStreamId, incarnation: INCARNATION, count: 1, waitedFor: false };
    await assert.rejects(
      service.demand({ demands: Array.from({ length: demands.taken + 1 }, () => one) }, context(PEER)),
      /BAD_REQUEST: .* demands, not /,
    );
  });

  it('works on so many rounds of a peer at a time, even of those it has cancelled, and on those of another beside them', async () => {
    const responder = streamOf('responder', '33333333-3333-4333-8333-333333333333');
    const exchange = {
      stream: responder,
      admit: () => 1,
      fail: () => undefined,
      stop: () => undefined,
    } as unknown as HeldBatches;
    registry.add(responder, exchange);
    const offer = {
      keyStreamId: responder.idBytes,
      incarnation: INCARNATION,
      firstIndex: 0,
      count: 1,
      publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(1184) }],
      qkd: undefined,
      degradedSlot: 0,
    };
    const produce = async (peer = PEER) =>
      (await service.produce({ offers: [offer], confirmations: [] }, context(peer))).answers as BatchAnswer[];
    const running = Array.from({ length: CALL_LIMITS.produce.taken }, () => produce());
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(encapsulations.length, CALL_LIMITS.produce.taken);
    await assert.rejects(produce(), (error) => isReason(error, 'LIMIT_EXCEEDED'));
    assert.equal((await produce(OTHER))[0]?.failure?.reason, 'UNKNOWN_STREAM');
    assert.equal(await demand(), 'noted');
    for (const held of encapsulations) held.reject(new KeyweaveError('AGREEMENT_FAILED', 'as the test says'));
    await Promise.all(running);
  });
});
