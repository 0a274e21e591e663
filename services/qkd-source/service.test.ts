import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CallContext } from 'nice-grpc';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type ErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
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
    assert.equal((await qkd.fetchKeys(FETCH, CONTEXT)).keys?.length, 64);
    assert.equal((await qkd.fetchKeys({ ...FETCH, position: 2n, count: 3 }, CONTEXT)).keys?.length, 96);
    await qkd.closeQkd({ keyStreamId: KSID, epoch: 0, qkdKeyStreamId: 'kme-1' }, CONTEXT);
    assert.deepEqual(closed, ['kme-1']);
  });

  it('refuses a position that has been read', async () => {
    const { service: qkd } = service();
    await qkd.openQkd(OPEN, CONTEXT);
    await qkd.fetchKeys(FETCH, CONTEXT);
    for (const position of [0n, 1n]) {
      await assert.rejects(async () => qkd.fetchKeys({ ...FETCH, position }, CONTEXT), outOfStep);
    }
    await qkd.fetchKeys({ ...FETCH, position: 2n }, CONTEXT);
  });

  it('goes on where another replica has read to', async () => {
    const [one, other] = [service().service, service().service];
    await one.openQkd(OPEN, CONTEXT);
    const positions = [0n, 2n, 4n, 6n, 8n];
    for (const [i, position] of positions.entries()) {
      const replica = i % 2 === 0 ? one : other;
      const { keys } = await replica.fetchKeys({ ...FETCH, position }, CONTEXT);
      assert.equal(keys?.[0], Number(position) + 1);
    }
    await assert.rejects(async () => other.fetchKeys({ ...FETCH, position: 4n }, CONTEXT), outOfStep);
  });

  it('moves on by the keys that were there', async () => {
    const { service: qkd } = service(async (_, first, _count, keyBytes) =>
      Buffer.alloc(first === 0n ? keyBytes : 0),
    );
    await qkd.openQkd(OPEN, CONTEXT);
    assert.equal((await qkd.fetchKeys(FETCH, CONTEXT)).keys?.length, 32);
    assert.equal((await qkd.fetchKeys({ ...FETCH, position: 1n }, CONTEXT)).keys?.length, 0);
    assert.equal((await qkd.fetchKeys({ ...FETCH, position: 1n }, CONTEXT)).keys?.length, 0);
  });

  it('takes a stream of before a restart at its word', async () => {
    const { service: qkd } = service();
    assert.equal((await qkd.fetchKeys({ ...FETCH, position: 70n }, CONTEXT)).keys?.length, 64);
    await assert.rejects(async () => qkd.fetchKeys({ ...FETCH, position: 70n }, CONTEXT), outOfStep);
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
        async () => qkd.fetchKeys(FETCH, CONTEXT),
        (error) => isReason(error, reason),
      );
      fail = false;
      const again = async () => qkd.fetchKeys(FETCH, CONTEXT);
      if (goesOn) await again();
      else await assert.rejects(again, outOfStep);
    }
  });

  it('has one reader of a stream at a time', async () => {
    const held = Promise.withResolvers<Buffer>();
    const { service: qkd } = service(() => held.promise);
    await qkd.openQkd(OPEN, CONTEXT);
    const first = qkd.fetchKeys(FETCH, CONTEXT);
    await assert.rejects(async () => qkd.fetchKeys(FETCH, CONTEXT), outOfStep);
    held.resolve(Buffer.alloc(64));
    assert.equal((await first).keys?.length, 64);
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
      await assert.rejects(async () => qkd.fetchKeys({ ...FETCH, ...change }, CONTEXT), bad);
    }
  });
});
