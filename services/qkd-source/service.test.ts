import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import type { CallContext } from 'nice-grpc';
import { asBuffer } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type ErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import type { Log, LogFields } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
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

/** Keys that tell from which position on they were read. */
const soundKeys: Fetch = async (_, first, count, keyBytes) => {
  const keys = randomBytes(count * keyBytes);
  keys[0] = Number(first) + 1;
  return keys;
};

function service(fetch: Fetch = soundKeys, change: Partial<QkdDriver> = {}, log: Log = silentLog) {
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
    blockBytes: 0,
    learn: async () => undefined,
    stop: () => undefined,
    ...change,
  };
  return { opened, closed, service: createQkdSourceService({ driver, nodeUuid: OPEN.sourceNode, log }) };
}

/** The keys of one fetch; its failure is thrown. */
async function fetchOne(qkd: QkdSourceServiceImplementation, fetch: QkdFetch): Promise<Buffer> {
  const { results = [] } = await qkd.fetchKeys({ fetches: [fetch] }, CONTEXT);
  const [result] = results as QkdFetched[];
  if (!result) throw new Error('no result');
  if (result.failure) throw errorOf(result.failure);
  return asBuffer(result.keys);
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

describe('qkd-source service and a key manager that is broken', () => {
  const twice = randomBytes(32);
  const faulty: [string, (position: number) => Buffer, RegExp][] = [
    [
      'gives a key again',
      (at) => (at < 2 ? randomBytes(32) : Buffer.from(twice)),
      /a key that it had given before/,
    ],
    ['gives two equal keys at once', () => Buffer.concat([twice, twice]), /a key that it had given before/],
    ['gives zeros', () => Buffer.alloc(32), /a key of zeros/],
    ['gives zeros in a block', () => Buffer.concat([randomBytes(32), Buffer.alloc(32)]), /a key of zeros/],
  ];
  for (const [what, keysAt, words] of faulty) {
    it(`that ${what} fails as what it is, and the stream is given up`, async () => {
      const lines: string[] = [];
      const error = (message: string, fields: LogFields = {}) =>
        void lines.push(`${message} ${JSON.stringify(fields)}`);
      const given: Buffer[] = [];
      const { service: qkd } = service(
        async (_, first) => {
          given.push(keysAt(Number(first)));
          return given.at(-1) as Buffer;
        },
        {},
        { ...silentLog, error },
      );
      await qkd.openQkd(OPEN, CONTEXT);
      const keyBytes = keysAt(0).length;
      const next = async (position: bigint) => fetchOne(qkd, { ...FETCH, position, count: 1, keyBytes });
      let position = 0n;
      await assert.rejects(
        async () => {
          for (; position < 5n; position++) await next(position);
        },
        (thrown) => isReason(thrown, 'SOURCE_FAULT') && words.test((thrown as Error).message),
      );
      assert.ok(
        given.at(-1)?.every((byte) => byte === 0),
        'what is not given is wiped',
      );
      await assert.rejects(next(position + 1n), outOfStep);
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? '', words);
      assert.match(lines[0] ?? '', /"faults":1/);
      assert.doesNotMatch(lines[0] ?? '', new RegExp(twice.toString('hex').slice(0, 8)));
    });
  }

  it('is noticed over streams, epochs and sizes, but not by another node that is given the same key', async () => {
    const key = randomBytes(32);
    const first = service(async () => Buffer.from(key)).service;
    const give = (qkd: QkdSourceServiceImplementation, change: Partial<QkdFetch>) =>
      fetchOne(qkd, { ...FETCH, count: 1, ...change });
    await give(first, {});
    const other = service(async () => Buffer.from(key)).service;
    assert.deepEqual(await give(other, {}), key);
    const broken = (error: unknown) => isReason(error, 'SOURCE_FAULT');
    await assert.rejects(give(first, { epoch: 1 }), broken);
    await assert.rejects(give(first, { keyStreamId: Buffer.alloc(16, 7) }), broken);
    const block = service(async () => Buffer.concat([randomBytes(32), key, randomBytes(32)])).service;
    await give(block, { keyBytes: 96 });
    await assert.rejects(give(block, { keyBytes: 96, epoch: 1 }), broken);
  });

  it('fails for the stream that it gave the key to, not for the others of the call', async () => {
    const { service: qkd } = service(async (handle, ...rest) =>
      handle === 'kme-2' ? Buffer.alloc(64) : soundKeys(handle, ...rest),
    );
    const fetches = ['kme-1', 'kme-2', 'kme-3'].map((qkdKeyStreamId) => ({ ...FETCH, qkdKeyStreamId }));
    const { results = [] } = await qkd.fetchKeys({ fetches }, CONTEXT);
    assert.deepEqual(
      results.map(({ failure }) => failure?.reason),
      [undefined, 'SOURCE_FAULT', undefined],
    );
  });
});

describe('qkd-source service and a key manager that holds OPEN_CONNECT back', () => {
  const other = (i: number) => `cccccccc-cccc-cccc-cccc-${String(i).padStart(12, '0')}`;
  const ksid = (i: number) => Buffer.alloc(16, i);

  /** Opens that last until the caller gives up. */
  function holding() {
    let underWay = 0;
    const most = { underWay: 0 };
    const open: QkdDriver['open'] = (stream, _, __, signal) => {
      if (stream.destinationNode === other(9)) return Promise.resolve('kme-9');
      most.underWay = Math.max(most.underWay, ++underWay);
      return new Promise((_, reject) => {
        const end = () => {
          underWay -= 1;
          reject(new KeyweaveError('QKD_UNAVAILABLE', 'the key manager did not answer'));
        };
        if (signal.aborted) end();
        else signal.addEventListener('abort', end, { once: true });
      });
    };
    return { most, count: () => underWay, qkd: service(soundKeys, { open }).service };
  }
  const opening = (qkd: QkdSourceServiceImplementation, i: number, change: object, signal: AbortSignal) =>
    qkd.openQkd({ ...OPEN, keyStreamId: ksid(i), ...change }, { signal } as CallContext);

  it('keeps one node from taking every turn by opening many streams', async () => {
    const { qkd, most } = holding();
    const stop = new AbortController();
    const held = Array.from({ length: 100 }, (_, i) => opening(qkd, i, {}, stop.signal));
    await opening(qkd, 200, { destinationNode: other(9) }, CONTEXT.signal);
    assert.equal(most.underWay, 16);
    stop.abort();
    for (const result of await Promise.allSettled(held)) assert.equal(result.status, 'rejected');
  });

  it('leaves turns for keys, however many nodes open streams', async () => {
    const { qkd, most } = holding();
    const stop = new AbortController();
    const held = Array.from({ length: 100 }, (_, i) =>
      opening(qkd, i, { destinationNode: other(i % 8) }, stop.signal),
    );
    await new Promise(setImmediate);
    assert.equal(most.underWay, 48);
    stop.abort();
    await Promise.allSettled(held);
  });

  it('ends the opening of an epoch that has been left', async () => {
    const { qkd, count } = holding();
    const stop = new AbortController();
    const first = opening(qkd, 1, {}, stop.signal);
    const rest = Array.from({ length: 50 }, (_, i) => opening(qkd, 1, { epoch: i + 1 }, stop.signal));
    const left = await Promise.allSettled([first, ...rest.slice(0, -1)]);
    for (const result of left) {
      assert.ok(result.status === 'rejected' && isReason(result.reason, 'QKD_OUT_OF_STEP'));
    }
    assert.equal(count(), 1);
    stop.abort();
    await assert.rejects(rest.at(-1) as Promise<unknown>);
  });

  it('closes what was opened for a caller that has gone', async () => {
    const gone = new AbortController();
    const late = Promise.withResolvers<string>();
    const { service: qkd, closed } = service(soundKeys, { open: () => late.promise });
    const call = opening(qkd, 1, {}, gone.signal);
    await new Promise(setImmediate);
    gone.abort();
    late.resolve('kme-late');
    await assert.rejects(call);
    assert.deepEqual(closed, ['kme-late']);
  });
});
