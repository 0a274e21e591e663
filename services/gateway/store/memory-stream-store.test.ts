import assert from 'node:assert/strict';
import { it } from 'node:test';
import { streamStoreContract } from '#test/contract/stream-store-contract.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { keyStream } from '#test/helpers/streams.ts';
import { MemoryStreamStore } from './memory-stream-store.ts';

streamStoreContract('MemoryStreamStore', (settings) => new MemoryStreamStore(settings));

it('a stream whose TTL has run out leaves it, though nobody asks to be told', async () => {
  const clock = new FakeClock();
  const quotas = { streams: 1, offers: 1, heldBytes: 1 };
  const store = new MemoryStreamStore({ maxStreams: 1, quotas, clock });
  store.add(keyStream({ qos: { ttlS: 5 } }));
  await clock.advance(5_000);
  assert.equal(store.size, 0);
});

it('its timers keep no process alive', () => {
  const kept: (boolean | undefined)[] = [];
  const clock = {
    monotonicMs: () => 0,
    after: (_ms: number, _act: () => void, background?: boolean) => {
      kept.push(background);
      return { cancel: () => undefined };
    },
  };
  const quotas = { streams: 1, offers: 1, heldBytes: 1 };
  new MemoryStreamStore({ maxStreams: 1, quotas, clock }).add(keyStream());
  assert.deepEqual(kept, [true]);
});
