import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import {
  CONTEXT,
  FETCH,
  fails,
  fetchOne,
  KSID,
  OPEN,
  outOfStep,
  service,
  soundKeys,
} from '#test/helpers/qkd-service.ts';
import type { QkdDriver } from './drivers/qkd-driver.ts';

describe('qkd-source service', () => {
  it('opens, reads in sequence and closes', async () => {
    const { opened, closed, service: qkd } = service();
    assert.deepEqual(await qkd.openQkd(OPEN, CONTEXT), { qkdKeyStreamId: 'kme-1' });
    assert.equal(opened[0]?.keyStreamId, '11111111-1111-4111-8111-111111111111');
    assert.equal(opened[0]?.sourceNode, 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa');
    assert.equal((await fetchOne(qkd, FETCH)).length, 64);
    assert.equal((await fetchOne(qkd, { ...FETCH, position: 2n, count: 3 })).length, 96);
    const close = { keyStreamId: KSID, epoch: 0, qkdKeyStreamId: 'kme-1' };
    assert.deepEqual(await qkd.closeQkd(close, CONTEXT), {});
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
      randomBytes(first === 0n ? keyBytes : 0),
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
        return randomBytes(call[2] * call[3]);
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
    held.resolve(randomBytes(64));
    assert.equal((await first).length, 64);
  });

  it('reads several streams in one call, where one that fails leaves the others alone', async () => {
    const { service: qkd } = service(async (handle, ...rest) => {
      if (handle === 'kme-2') return fails('QKD_UNAVAILABLE')();
      return soundKeys(handle, ...rest);
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
      { qkdKeyStreamId: 'x'.repeat(257) },
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
      { qkdKeyStreamId: 'x'.repeat(257) },
    ];
    for (const change of fetches) {
      await assert.rejects(async () => fetchOne(qkd, { ...FETCH, ...change }), bad);
    }
  });

  it('takes what is just within its limits', async () => {
    const { service: qkd } = service(async (_, __, count, keyBytes) => randomBytes(count * keyBytes));
    const longest = 'x'.repeat(256);
    for (const change of [{ keyBytes: 1 }, { keyBytes: 65_536 }, { qkdKeyStreamId: longest }])
      await qkd.openQkd({ ...OPEN, ...change }, CONTEXT);
    for (const [epoch, change] of [
      { keyBytes: 1, count: 1 },
      { keyBytes: 65_536, count: 32 },
      { keyBytes: 1, count: 16_384 },
      { qkdKeyStreamId: longest },
    ].entries()) {
      const wanted = { ...FETCH, epoch, ...change };
      assert.equal((await fetchOne(qkd, wanted)).length, wanted.count * wanted.keyBytes);
    }
    const fetches = Array.from({ length: 1024 }, (_, epoch) => ({ ...FETCH, epoch: epoch + 10, count: 1 }));
    const { results = [] } = await qkd.fetchKeys({ fetches }, CONTEXT);
    assert.ok(results.every(({ failure }) => failure === undefined));
    // The bytes of all streams together count.
    const large = [0, 1].map((i) => ({ ...FETCH, epoch: 2000 + i, keyBytes: 65_536, count: 17 }));
    await assert.rejects(async () => qkd.fetchKeys({ fetches: large }, CONTEXT), /at most/);
  });

  it('names in its refusals what is wrong', async () => {
    const { service: qkd } = service();
    const refused = (call: () => Promise<unknown>, words: RegExp) =>
      assert.rejects(call, (error) => isReason(error, 'BAD_REQUEST') && words.test(String(error)));
    const opens = [
      [{ keyStreamId: Buffer.alloc(15) }, /key_stream_id/],
      [{ sourceNode: 'node-a' }, /source_node/],
      [{ destinationNode: '' }, /destination_node/],
    ] as const;
    for (const [change, words] of opens)
      await refused(async () => qkd.openQkd({ ...OPEN, ...change }, CONTEXT), words);
    const short = { ...FETCH, keyStreamId: Buffer.alloc(0) };
    await refused(async () => fetchOne(qkd, short), /key_stream_id/);
    const close = { keyStreamId: KSID, epoch: 0, qkdKeyStreamId: 'kme-1' };
    await refused(
      async () => qkd.closeQkd({ ...close, keyStreamId: Buffer.alloc(15) }, CONTEXT),
      /key_stream_id/,
    );
    await refused(
      async () => qkd.closeQkd({ ...close, qkdKeyStreamId: 'x'.repeat(257) }, CONTEXT),
      /qkd_key_stream_id/,
    );
  });

  it('forgets how far a stream was read once it is closed, and knows its keys still', async () => {
    let keys = randomBytes(64);
    const { service: qkd } = service(async () => Buffer.from(keys));
    await qkd.openQkd(OPEN, CONTEXT);
    await fetchOne(qkd, { ...FETCH, position: 4n });
    await qkd.closeQkd({ keyStreamId: KSID, epoch: 0, qkdKeyStreamId: 'kme-1' }, CONTEXT);
    await assert.rejects(fetchOne(qkd, FETCH), (error) => isReason(error, 'SOURCE_FAULT'));
    keys = randomBytes(64);
    await qkd.openQkd(OPEN, CONTEXT);
    await fetchOne(qkd, { ...FETCH, qkdKeyStreamId: 'kme-2' });
  });

  it('begins anew with a stream that is opened under the same name', async () => {
    const { service: qkd } = service(soundKeys, { open: async () => 'kme-1' });
    await qkd.openQkd(OPEN, CONTEXT);
    await fetchOne(qkd, { ...FETCH, position: 4n });
    await qkd.openQkd(OPEN, CONTEXT);
    await fetchOne(qkd, FETCH);
  });

  it('tells what the key manager is known to give at once, and lets the driver learn it', async () => {
    const asked: unknown[] = [];
    const learn: QkdDriver['learn'] = async (between) => void asked.push(between?.destinationNode);
    const { service: qkd } = service(soundKeys, { learn, blockBytes: 512 });
    await qkd.openQkd(OPEN, CONTEXT);
    const { blockBytes } = await qkd.fetchKeys({ fetches: [FETCH] }, CONTEXT);
    assert.deepEqual([blockBytes, asked], [512, [OPEN.destinationNode, undefined]]);
  });
});
