import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import type { WatchKeysRequest } from '#gen/keyweave/v1/key_delivery.ts';
import type { GetKey, KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import { KeyWatches, MAX_WATCHES } from './key-watches.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const OWNER = { identity: 'spiffe://apps/a', address: '127.0.0.1:1' };

/** A watch of a stream whose keys come as the test says. */
function watchOf(getKey: (request: GetKey, count: number) => number | Promise<number>) {
  let count = 0;
  const delivery = {
    status: () => undefined,
    getKey: async (request: GetKey) => {
      const index = await getKey(request, count++);
      return { index, key: new Secret(Buffer.alloc(32, index + 1)), metadata: '' };
    },
  } as unknown as KeyDelivery & StreamDirectory;
  const requests = new PushQueue<WatchKeysRequest>();
  const gone = new AbortController();
  const watches = new KeyWatches(delivery, delivery);
  const watch = () => watches.watch(requests, OWNER, gone.signal);
  return { requests, gone, watch, asked: () => count };
}

const first = (credits: number) => ({ keyStreamId: KSID, credits });

async function indexesOf(watch: AsyncIterable<{ key?: { index: number } | undefined }>): Promise<number[]> {
  const indexes: number[] = [];
  for await (const { key } of watch) indexes.push(key?.index ?? -1);
  return indexes;
}

describe('a watch of keys', () => {
  it('gives what was granted and no more, then ends with the client’s side', async () => {
    const { requests, watch, asked } = watchOf((_request, count) => count);
    requests.push(first(2));
    requests.push({ keyStreamId: '', credits: 1 });
    requests.end();
    assert.deepEqual(await indexesOf(watch()), [0, 1, 2]);
    assert.equal(asked(), 3);
  });

  it('waits through timeouts, and ends with any other failure', async () => {
    const { requests, watch } = watchOf((_request, count) => {
      if (count === 0) throw new KeyweaveError('TIMEOUT', 'late');
      if (count === 2) throw new KeyweaveError('PEER_APPLICATION_ABSENT', 'closed');
      return count;
    });
    requests.push(first(5));
    const keys = watch();
    assert.equal((await keys.next()).value?.key?.index, 1);
    await assert.rejects(keys.next(), (error) => isReason(error, 'PEER_APPLICATION_ABSENT'));
  });

  it('takes no key for a client that has gone, with credits or without', async () => {
    for (const credits of [0, 5]) {
      const { requests, gone, watch } = watchOf(
        ({ signal }) =>
          new Promise((_, reject) =>
            signal.addEventListener('abort', () => reject(new KeyweaveError('TIMEOUT', 'gone'))),
          ),
      );
      requests.push(first(credits));
      const ended = indexesOf(watch());
      setImmediate(() => gone.abort());
      assert.deepEqual(await ended, []);
    }
  });

  it('refuses what a request cannot be', async () => {
    for (const [more, words] of [
      [{ keyStreamId: KSID, credits: 1 }, /first message only/],
      [{ keyStreamId: '', credits: 4_097 }, /4096 at most may be outstanding/],
    ] as const) {
      const { requests, watch } = watchOf((_request, count) => count);
      requests.push(first(0));
      requests.push(more);
      await assert.rejects(
        indexesOf(watch()),
        (error) => isReason(error, 'BAD_REQUEST') && words.test(String(error)),
      );
    }
    const { requests, watch } = watchOf(() => 0);
    requests.end();
    await assert.rejects(indexesOf(watch()), (error) => isReason(error, 'BAD_REQUEST'));
  });

  it('is one of so many that an application may have, until it ends', async () => {
    const { requests, watch } = watchOf((_request, count) => count);
    const open = Array.from({ length: MAX_WATCHES }, () => watch());
    requests.push(first(1));
    const begun = open.map((keys) => keys.next());
    await assert.rejects(watch().next(), (error) => isReason(error, 'LIMIT_EXCEEDED'));
    requests.end();
    await Promise.allSettled(begun);
    await Promise.all(open.map((keys) => keys.return()));
    await assert.rejects(watch().next(), (error) => !isReason(error, 'LIMIT_EXCEEDED'));
  });
});
