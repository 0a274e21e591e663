import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { FetchKeysRequest, FetchKeysResponse, OpenQkdRequest } from '#gen/keyweave/v1/qkd_source.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import { createQkdClient, type QkdClient } from './qkd-client.ts';
import { fetchTogether, QkdStream, type QkdStreamTools } from './qkd-stream.ts';

const ID = Buffer.alloc(16, 1);
const NONE = { epoch: 0, qkdKeyStreamId: '', position: 0n, blockKeys: 1 };

let openings: { request: OpenQkdRequest; timeoutMs: number }[];
let closed: unknown[];
let fetches: { request: FetchKeysRequest; timeoutMs: number }[];
let openQkd: (request: OpenQkdRequest) => Promise<{ qkdKeyStreamId: string }>;
let fetchKeys: (request: FetchKeysRequest) => Promise<FetchKeysResponse>;
let clock: FakeClock;
let qkd: QkdClient;
let join: QkdStreamTools['join'];

beforeEach(() => {
  [openings, closed, fetches] = [[], [], []];
  openQkd = async ({ epoch }) => ({ qkdKeyStreamId: `kme-${epoch}` });
  fetchKeys = async (request) => ({
    results: request.fetches.map(({ count, keyBytes }, i) => ({
      keys: Buffer.alloc(count * keyBytes, i + 1),
      failure: undefined,
    })),
    blockBytes: 0,
  });
  const qkdSource = {
    openQkd: (request: OpenQkdRequest, { timeoutMs }: { timeoutMs: number }) => {
      openings.push({ request, timeoutMs });
      return openQkd(request);
    },
    closeQkd: async (request: unknown) => void closed.push(request),
    fetchKeys: (request: FetchKeysRequest, { timeoutMs }: { timeoutMs: number }) => {
      fetches.push({ request, timeoutMs });
      return fetchKeys(request);
    },
  };
  clock = new FakeClock();
  qkd = createQkdClient(qkdSource as never, 4_000);
  join = 'auto';
});

function stream(change: { keyStreamId?: Buffer; firstEpoch?: number } = {}): QkdStream {
  return new QkdStream({
    tools: { qkd, clock, log: silentLog, join },
    keyStreamId: ID,
    initiatorNode: ALICE,
    responderNode: BOB,
    keyBytes: 32,
    ...change,
  });
}

const reason = (wanted: ErrorReason) => (error: unknown) => isReason(error, wanted);
const never = () => new Promise<never>(() => undefined);

describe('the QKD stream of the initiator', () => {
  it('names its key manager stream to the other end, which joins it', async () => {
    const one = stream({ firstEpoch: 3 });
    assert.deepEqual([one.epoch, one.blockKeys, one.givenBlockKeys, one.isOpen], [3, 1, 0, false]);
    await one.prepare();
    assert.equal(one.isOpen, true);
    assert.deepEqual(one.reference(), { ...NONE, epoch: 3, qkdKeyStreamId: 'kme-3' });
    assert.deepEqual(openings, [
      {
        request: {
          ...{ keyStreamId: ID, epoch: 3, sourceNode: ALICE, destinationNode: BOB, keyBytes: 32 },
          qkdKeyStreamId: '',
        },
        timeoutMs: 5_000,
      },
    ]);
    await one.prepare();
    assert.equal(openings.length, 1);
  });

  it('names none where both ends open by their URIs', async () => {
    join = 'uris';
    const one = stream();
    await one.prepare();
    assert.deepEqual([openings.length, one.reference().qkdKeyStreamId], [1, '']);
  });

  it('waits a moment for the name, and goes on without it', async () => {
    join = 'auto';
    openQkd = never;
    const one = stream();
    let prepared = false;
    const preparing = one.prepare().then(() => {
      prepared = true;
    });
    await clock.advance(250);
    assert.equal(prepared, false);
    await clock.advance(1);
    await preparing;
    assert.equal(one.reference().qkdKeyStreamId, '');
  });

  it('waits for the name as long as it takes where the other end cannot do without it', async () => {
    join = 'ksid';
    const opening = Promise.withResolvers<{ qkdKeyStreamId: string }>();
    openQkd = () => opening.promise;
    const one = stream();
    const preparing = one.prepare();
    await clock.advance(3_000);
    opening.resolve({ qkdKeyStreamId: 'late' });
    await preparing;
    assert.equal(one.reference().qkdKeyStreamId, 'late');
  });

  it('does not take the name of an epoch that it has left', async () => {
    const first = Promise.withResolvers<{ qkdKeyStreamId: string }>();
    openQkd = ({ epoch }) => (epoch === 0 ? first.promise : never());
    const one = stream();
    const preparing = one.prepare();
    one.renew();
    void one.opened().catch(() => undefined);
    first.resolve({ qkdKeyStreamId: 'old' });
    await preparing;
    assert.equal(one.isOpen, false);
    assert.deepEqual(one.reference(), { ...NONE, epoch: 1 });
  });

  it('tells why its key manager refuses, and may be asked again', async () => {
    openQkd = async () => {
      throw new KeyweaveError('QKD_UNAVAILABLE', 'no');
    };
    const one = stream();
    await assert.rejects(one.prepare(), reason('QKD_UNAVAILABLE'));
    await assert.rejects(one.prepare(), reason('QKD_UNAVAILABLE'));
    assert.equal(openings.length, 2);
    openQkd = async () => ({ qkdKeyStreamId: 'back' });
    await one.prepare();
    assert.equal(one.reference().qkdKeyStreamId, 'back');
  });

  it('keeps its newer opening when that of an epoch that it has left fails', async () => {
    const first = Promise.withResolvers<{ qkdKeyStreamId: string }>();
    openQkd = ({ epoch }) => (epoch === 0 ? first.promise : Promise.resolve({ qkdKeyStreamId: 'new' }));
    const one = stream();
    const left = assert.rejects(one.opened(), reason('QKD_UNAVAILABLE'));
    one.renew();
    await one.opened();
    first.reject(new KeyweaveError('QKD_UNAVAILABLE', 'no'));
    await left;
    await clock.settle();
    assert.equal(await one.opened(), 'new');
    assert.equal(openings.length, 2);
  });

  it('counts in whole blocks, and starts anew with each epoch', async () => {
    const one = stream();
    one.renew(16);
    assert.deepEqual([one.epoch, one.blockKeys], [1, 16]);
    await one.prepare();
    assert.equal(openings[0]?.request.keyBytes, 512);
    one.reserve(20);
    one.reserve(16);
    assert.equal(one.reference().position, 3n);
    one.advance(Buffer.alloc(2 * 512 + 100));
    const next = { ...NONE, epoch: 1, blockKeys: 16 };
    assert.equal(one.isNext({ ...next, position: 2n }), true);
    assert.equal(one.isNext({ ...next, position: 3n }), false);
    assert.equal(one.isNext({ ...next, position: 2n, epoch: 0 }), false);
    assert.equal(one.fetchOf('kme-1', 17).position, 2n);
    one.renew();
    await clock.settle();
    assert.deepEqual(one.reference(), { ...NONE, epoch: 2, blockKeys: 16 });
    assert.equal(one.isOpen, false);
    assert.equal(one.fetchOf('x', 1).position, 0n);
    assert.deepEqual(closed, [{ keyStreamId: ID, epoch: 1, qkdKeyStreamId: 'kme-1' }]);
    one.renew(1_000);
    assert.equal(one.blockKeys, 64);
  });

  it('aborts nothing that is open, or was never begun, when it closes', async () => {
    const one = stream();
    one.close();
    await one.opened();
    one.close();
    await clock.settle();
    assert.equal(clock.pending, 0);
    assert.equal(closed.length, 1);
  });
});

describe('the QKD stream of the responder', () => {
  it('joins the stream that the initiator names, and says where the two are not in step', async () => {
    const one = stream();
    await one.follow({ ...NONE, epoch: 2, qkdKeyStreamId: 'shared' });
    assert.deepEqual([one.epoch, openings[0]?.request.qkdKeyStreamId], [2, 'shared']);
    assert.equal(await one.opened(), 'kme-2');
    one.advance(Buffer.alloc(3 * 32));
    await one.follow({ ...NONE, epoch: 2, position: 3n });
    await assert.rejects(one.follow({ ...NONE, epoch: 2, position: 2n }), reason('QKD_OUT_OF_STEP'));
    await assert.rejects(one.follow({ ...NONE, epoch: 1, position: 3n }), reason('QKD_OUT_OF_STEP'));
    one.noteBlockBytes(64 * 32);
    await assert.rejects(
      one.follow({ ...NONE, epoch: 2, position: 3n, blockKeys: 2 }),
      reason('QKD_OUT_OF_STEP'),
    );
    await assert.rejects(one.follow({ ...NONE, epoch: 3, blockKeys: 0 }), reason('BAD_REQUEST'));
    await one.follow({ ...NONE, epoch: 3, blockKeys: 64, qkdKeyStreamId: 'x'.repeat(256) });
    assert.equal(one.blockKeys, 64);
  });

  it('opens by the name that it was told, when it has to open again', async () => {
    const one = stream();
    openQkd = async () => {
      throw new KeyweaveError('QKD_UNAVAILABLE', 'no');
    };
    await assert.rejects(one.follow({ ...NONE, qkdKeyStreamId: 'shared' }), reason('QKD_UNAVAILABLE'));
    openQkd = async () => ({ qkdKeyStreamId: 'back' });
    await one.opened();
    assert.deepEqual(
      openings.map(({ request }) => request.qkdKeyStreamId),
      ['shared', 'shared'],
    );
  });
});

describe('fetchTogether', () => {
  const streams = () => [1, 2, 3].map((digit) => stream({ keyStreamId: Buffer.alloc(16, digit) }));

  it('asks for all streams in one call, and gives each its own', async () => {
    const three = streams();
    const got = await fetchTogether(
      qkd,
      three.map((each, i) => ({ from: each, count: i + 1 })),
    );
    assert.deepEqual(got, [Buffer.alloc(32, 1), Buffer.alloc(64, 2), Buffer.alloc(96, 3)]);
    assert.equal(fetches.length, 1);
    assert.equal(fetches[0]?.timeoutMs, 5_000);
    assert.deepEqual(
      fetches[0]?.request.fetches.map(({ keyStreamId, count, qkdKeyStreamId }) => [
        keyStreamId[0],
        count,
        qkdKeyStreamId,
      ]),
      [
        [1, 1, 'kme-0'],
        [2, 2, 'kme-0'],
        [3, 3, 'kme-0'],
      ],
    );
    assert.deepEqual(
      three.map((each) => each.fetchOf('x', 1).position),
      [1n, 2n, 3n],
    );
  });

  it('asks nothing for nobody', async () => {
    assert.deepEqual(await fetchTogether(qkd, []), []);
    assert.equal(fetches.length, 0);
  });

  it('fails a stream that cannot be opened, or that is refused, alone', async () => {
    const three = streams();
    openQkd = async ({ keyStreamId }) => {
      if (keyStreamId[0] === 1) throw new KeyweaveError('QKD_UNAVAILABLE', 'not this one');
      return { qkdKeyStreamId: 'kme' };
    };
    fetchKeys = async () => ({
      results: [
        { keys: Buffer.alloc(0), failure: { reason: 'INSUFFICIENT_KEY', detail: 'dry' } },
        { keys: Buffer.alloc(32, 7), failure: undefined },
      ],
      blockBytes: 128,
    });
    const [first, second, third] = await fetchTogether(
      qkd,
      three.map((each) => ({ from: each, count: 1 })),
    );
    assert.ok(reason('QKD_UNAVAILABLE')(first));
    assert.ok(reason('INSUFFICIENT_KEY')(second));
    assert.deepEqual(third, Buffer.alloc(32, 7));
    assert.deepEqual(
      three.map((each) => [each.fetchOf('x', 1).position, each.givenBlockKeys]),
      [
        [0n, 0],
        [0n, 4],
        [1n, 4],
      ],
    );
  });

  it('asks nothing where no stream can be opened', async () => {
    openQkd = async () => {
      throw new KeyweaveError('QKD_UNAVAILABLE', 'away');
    };
    const got = await fetchTogether(qkd, [{ from: stream(), count: 1 }]);
    assert.ok(reason('QKD_UNAVAILABLE')(got[0]));
    assert.equal(fetches.length, 0);
  });

  it('fails all of them, and moves none, where the call fails or answers for others', async () => {
    for (const [answer, wanted] of [
      [() => Promise.reject(new KeyweaveError('SERVICE_UNAVAILABLE', 'away')), 'SERVICE_UNAVAILABLE'],
      [async () => ({ results: [], blockBytes: 64 }), 'INTERNAL'],
    ] as const) {
      fetchKeys = answer;
      const two = streams().slice(1);
      const got = await fetchTogether(
        qkd,
        two.map((each) => ({ from: each, count: 1 })),
      );
      assert.deepEqual(got.map(reason(wanted)), [true, true]);
      assert.match(String(got[0]), wanted === 'INTERNAL' ? /wrong number/ : /away/);
      assert.deepEqual(
        two.map((each) => [each.fetchOf('x', 1).position, each.givenBlockKeys]),
        [
          [0n, 0],
          [0n, 0],
        ],
      );
    }
  });
});
