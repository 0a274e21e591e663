import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import type { CallContext } from 'nice-grpc';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { LogFields } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { QkdFetch, QkdSourceServiceImplementation } from '#gen/keyweave/v1/qkd_source.ts';
import { CONTEXT, FETCH, fetchOne, OPEN, outOfStep, service, soundKeys } from '#test/helpers/qkd-service.ts';
import type { QkdDriver } from './drivers/qkd-driver.ts';

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
