import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { FetchKeysResponse, OpenQkdRequest, QkdFetch } from '#gen/keyweave/v1/qkd_source.ts';
import { ALICE, BOB, LIVING } from '#test/helpers/streams.ts';
import { createQkdClient, type QkdClient } from './qkd-client.ts';

const ID = Buffer.alloc(16, 1);
const OPEN: OpenQkdRequest = {
  ...{ keyStreamId: ID, epoch: 3, sourceNode: ALICE, destinationNode: BOB, keyBytes: 32 },
  qkdKeyStreamId: '',
};
const FETCH: QkdFetch = {
  ...{ keyStreamId: ID, epoch: 3, position: 0n, count: 2, keyBytes: 32, qkdKeyStreamId: 'qkd' },
  keyNames: [],
};
const NO_KEYS = Buffer.alloc(0);

/** Calls that reached qkd-source. */
let calls: { method: string; request: unknown; timeoutMs: number; signal: AbortSignal | undefined }[];
let fetched: Promise<FetchKeysResponse>;
let client: QkdClient;

beforeEach(() => {
  calls = [];
  const call =
    <T>(method: string, answer: () => T) =>
    (request: unknown, { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal }) => {
      calls.push({ method, request, timeoutMs, signal });
      return answer();
    };
  const qkdSource = {
    openQkd: call('open', async () => ({ qkdKeyStreamId: 'qkd' })),
    fetchKeys: call('fetch', () => fetched),
    closeQkd: call('close', async () => ({})),
  };
  client = createQkdClient(qkdSource as never, 4_000);
});

describe('the client of qkd-source', () => {
  it('opens with the signal of whoever may give up, and more time than the key manager has', async () => {
    assert.equal(await client.open(OPEN, LIVING), 'qkd');
    assert.deepEqual(calls, [{ method: 'open', request: OPEN, timeoutMs: 5_000, signal: LIVING }]);
  });

  it('closes within the time of its key manager', async () => {
    const request = { keyStreamId: ID, epoch: 3, qkdKeyStreamId: 'qkd' };
    assert.equal(await client.close(request), undefined);
    assert.deepEqual(calls, [{ method: 'close', request, timeoutMs: 4_000, signal: undefined }]);
  });

  it('gives each fetch its keys or its failure, in one call; the keys are no copies', async () => {
    const keys = new Uint8Array(64).fill(7);
    fetched = Promise.resolve({
      results: [
        { keys, failure: undefined, keyNames: [] },
        { keys: NO_KEYS, failure: { reason: 'INSUFFICIENT_KEY', detail: 'dry' }, keyNames: [] },
      ],
      blockBytes: 512,
    });
    const { results, blockBytes } = await client.fetch([FETCH, { ...FETCH, epoch: 4 }]);
    assert.ok(isReason(results[1], 'INSUFFICIENT_KEY'));
    assert.deepEqual([results[0], blockBytes], [Buffer.alloc(64, 7), 512]);
    assert.equal((results[0] as Buffer).buffer, keys.buffer, 'a copy would be left unwiped');
    assert.deepEqual(calls, [
      {
        ...{ method: 'fetch', timeoutMs: 5_000, signal: undefined },
        request: { fetches: [FETCH, { ...FETCH, epoch: 4 }] },
      },
    ]);
  });

  it('asks nothing for nobody', async () => {
    assert.deepEqual(await client.fetch([]), { results: [], blockBytes: 0 });
    assert.deepEqual(calls, []);
  });

  for (const count of [0, 1, 3]) {
    it(`takes no ${count} answers for two streams, and wipes what came`, async () => {
      const results = Array.from({ length: count }, () => ({
        keys: new Uint8Array(64).fill(7),
        failure: undefined,
        keyNames: [],
      }));
      fetched = Promise.resolve({ results, blockBytes: 0 });
      await assert.rejects(client.fetch([FETCH, FETCH]), /INTERNAL: qkd-source answered for a wrong number/);
      for (const { keys } of results) assert.ok(keys.every((byte) => byte === 0));
    });
  }

  it('says what qkd-source says', async () => {
    fetched = Promise.reject(new KeyweaveError('SERVICE_UNAVAILABLE', 'away'));
    await assert.rejects(client.fetch([FETCH]), /SERVICE_UNAVAILABLE: away/);
  });
});
