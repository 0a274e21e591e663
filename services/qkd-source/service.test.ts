import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CallContext } from 'nice-grpc';
import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type ErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import type { QkdFetch, QkdFetched, QkdSourceServiceImplementation } from '#gen/keyweave/v1/qkd_source.ts';
import type { QkdDriver } from './drivers/qkd-driver.ts';
import { createQkdSourceService } from './service.ts';

const KSID = Buffer.from('11111111111141118111111111111111', 'hex');
const OPEN = {
  keyStreamId: KSID,
  epoch: 0,
  sourceNode: 'AAAAAAAA-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
  destinationNode: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
  keyBytes: 32,
  qkdKeyStreamId: '',
};
const FETCH = { keyStreamId: KSID, epoch: 0, position: 0n, count: 2, keyBytes: 32, qkdKeyStreamId: 'kme-1' };
const CONTEXT = { signal: new AbortController().signal } as CallContext;

type Fetch = QkdDriver['fetch'];

function service(
  fetch: Fetch = async (_, first, count, keyBytes) => Buffer.alloc(count * keyBytes, Number(first) + 1),
) {
  const opened: Parameters<QkdDriver['open']>[0][] = [];
  const closed: string[] = [];
  const driver: QkdDriver = {
    open: async (stream) => {
      opened.push(stream);
      return `kme-${opened.length}`;
    },
    fetch,
    close: async (handle) => {
      closed.push(handle);
    },
    stop: () => undefined,
  };
  return { opened, closed, service: createQkdSourceService(driver) };
}

/** The keys of one fetch; its failure is thrown. */
async function fetchOne(qkd: QkdSourceServiceImplementation, fetch: QkdFetch): Promise<Buffer> {
  const { results = [] } = await qkd.fetchKeys({ fetches: [fetch] }, CONTEXT);
  const [result] = results as QkdFetched[];
  if (!result) throw new Error('no result');
  if (result.failure) throw errorOf(result.failure);
  return result.keys;
}

const fails = (reason: ErrorReason) => async (): Promise<Buffer> => {
  assert.ok(reason in STATUS_TABLE);
  throw new KeyweaveError(reason, 'as the test says');
};
const outOfStep = (error: unknown) => isReason(error, 'QKD_OUT_OF_STEP');

describe('qkd-source service', () => {
  it('opens, reads in sequence and closes', async () => {
    const { opened, closed, service: qkd } = service();
    assert.deepEqual(await qkd.openQkd(OPEN, CONTEXT), { qkdKeyStreamId: 'kme-1' });
    assert.equal(opened[0]?.keyStreamId, '11111111-1111-4111-8111-111111111111');
    assert.equal(opened[0]?.sourceNode, 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa');
    assert.equal((await fetchOne(qkd, FETCH)).length, 64);
    assert.equal((await fetchOne(qkd, { ...FETCH, position: 2n, count: 3 })).length, 96);
    await qkd.closeQkd({ keyStreamId: KSID, epoch: 0, qkdKeyStreamId: 'kme-1' }, CONTEXT);
    assert.deepEqual(closed, ['kme-1']);
  });

  it('refuses a position that has been read', async () => {
    const { service: qkd } = service();
    await qkd.openQkd(OPEN, CONTEXT);
    await fetchOne(qkd, FETCH);
    for (const position of [0n, 1n]) {
      await assert.rejects(async () => fetchOne(qkd, { ...FETCH, position }), outOfStep);
    }
    await fetchOne(qkd, { ...FETCH, position: 2n });
  });

  it('goes on where another replica has read to', async () => {
    const [one, other] = [service().service, service().service];
    await one.openQkd(OPEN, CONTEXT);
    const positions = [0n, 2n, 4n, 6n, 8n];
    for (const [i, position] of positions.entries()) {
      const replica = i % 2 === 0 ? one : other;
      assert.equal((await fetchOne(replica, { ...FETCH, position }))[0], Number(position) + 1);
    }
    await assert.rejects(async () => fetchOne(other, { ...FETCH, position: 4n }), outOfStep);
  });

  it('moves on by the keys that were there', async () => {
    const { service: qkd } = service(async (_, first, _count, keyBytes) =>
      Buffer.alloc(first === 0n ? keyBytes : 0),
    );
    await qkd.openQkd(OPEN, CONTEXT);
    assert.equal((await fetchOne(qkd, FETCH)).length, 32);
    assert.equal((await fetchOne(qkd, { ...FETCH, position: 1n })).length, 0);
    assert.equal((await fetchOne(qkd, { ...FETCH, position: 1n })).length, 0);
  });

  it('takes a stream of before a restart at its word', async () => {
    const { service: qkd } = service();
    assert.equal((await fetchOne(qkd, { ...FETCH, position: 70n })).length, 64);
    await assert.rejects(async () => fetchOne(qkd, { ...FETCH, position: 70n }), outOfStep);
  });

  it('keeps the position when surely no key is lost, and gives the stream up otherwise', async () => {
    for (const [reason, goesOn] of [
      ['QKD_UNAVAILABLE', true],
      ['QKD_OUT_OF_STEP', false],
    ] as const) {
      let fail = true;
      const { service: qkd } = service(async (...call) => {
        if (fail) return fails(reason)();
        return Buffer.alloc(call[2] * call[3]);
      });
      await qkd.openQkd(OPEN, CONTEXT);
      await assert.rejects(
        async () => fetchOne(qkd, FETCH),
        (error) => isReason(error, reason),
      );
      fail = false;
      const again = async () => fetchOne(qkd, FETCH);
      if (goesOn) await again();
      else await assert.rejects(again, outOfStep);
    }
  });

  it('has one reader of a stream at a time', async () => {
    const held = Promise.withResolvers<Buffer>();
    const { service: qkd } = service(() => held.promise);
    await qkd.openQkd(OPEN, CONTEXT);
    const first = fetchOne(qkd, FETCH);
    await assert.rejects(async () => fetchOne(qkd, FETCH), outOfStep);
    held.resolve(Buffer.alloc(64));
    assert.equal((await first).length, 64);
  });

  it('reads several streams in one call, where one that fails leaves the others alone', async () => {
    const { service: qkd } = service(async (handle, first, count, keyBytes) => {
      if (handle === 'kme-2') return fails('QKD_UNAVAILABLE')();
      return Buffer.alloc(count * keyBytes, Number(first) + 1);
    });
    const fetches = ['kme-1', 'kme-2', 'kme-3'].map((qkdKeyStreamId) => ({ ...FETCH, qkdKeyStreamId }));
    const { results = [] } = await qkd.fetchKeys({ fetches }, CONTEXT);
    assert.deepEqual(
      results.map((result) => [result.keys?.length, result.failure?.reason]),
      [
        [64, undefined],
        [0, 'QKD_UNAVAILABLE'],
        [64, undefined],
      ],
    );
    await assert.rejects(
      async () => qkd.fetchKeys({ fetches: new Array(1025).fill(FETCH) }, CONTEXT),
      /at most 1024 streams/,
    );
  });

  it('refuses what cannot be meant', async () => {
    const { service: qkd } = service();
    const bad = (error: unknown) => isReason(error, 'BAD_REQUEST');
    const opens = [
      { keyStreamId: Buffer.alloc(15) },
      { sourceNode: 'node-a' },
      { destinationNode: '' },
      { keyBytes: 0 },
      { keyBytes: 65_537 },
    ];
    for (const change of opens) {
      await assert.rejects(async () => qkd.openQkd({ ...OPEN, ...change }, CONTEXT), bad);
    }
    const fetches = [
      { keyStreamId: Buffer.alloc(0) },
      { count: 0 },
      { count: 16_385 },
      { count: 64, keyBytes: 65_536 },
      { keyBytes: 0 },
      { qkdKeyStreamId: '' },
    ];
    for (const change of fetches) {
      await assert.rejects(async () => fetchOne(qkd, { ...FETCH, ...change }), bad);
    }
  });
});
