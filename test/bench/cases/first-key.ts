import {
  assertSameKey,
  type BenchStream,
  closeStream,
  getRequest,
  prepareStream,
  type StreamKind,
  streamKind,
} from '../client/bench-stream.ts';
import type { LoadClient } from '../client/load-client.ts';
import { percentiles } from '../figures.ts';
import type { BenchCase } from './case.ts';

/** Fresh streams whose applications ask for a key as soon as OPEN_CONNECT is answered. */
export const firstKey: BenchCase = {
  async run({ network, options, progress }) {
    progress(`first keys of ${options.freshStreams} fresh streams`);
    const kind = streamKind(network, options);
    const openMs: number[] = [];
    const keyMs: number[] = [];
    for (let i = 0; i < options.freshStreams; i++) {
      const fresh = await openAndGet(kind);
      openMs.push(fresh.openMs);
      keyMs.push(fresh.keyMs);
      await closeStream(fresh);
    }
    const row = (samples: readonly number[]) => {
      const { p50, p99, max } = percentiles(samples);
      return { p50, p99, max };
    };
    return [
      {
        title: `A fresh stream, ${options.freshStreams} one after the other, ms`,
        rows: {
          'OPEN_CONNECT until both ends are answered': row(openMs),
          'from there until both ends have the first key': row(keyMs),
        },
      },
    ];
  },
};

async function openAndGet(kind: StreamKind): Promise<BenchStream & { keyMs: number }> {
  const { a, b, open } = await prepareStream(kind);
  const started = performance.now();
  let openedMs = started;
  let get = '';
  const first = async (client: LoadClient) => {
    const answer = await client.request(open);
    openedMs = performance.now();
    get = getRequest(answer);
    return client.request(get);
  };
  const [keyA, keyB] = await Promise.all([first(a), first(b)]);
  const keyMs = performance.now() - openedMs;
  assertSameKey(keyA, keyB);
  return { a, b, get, openMs: openedMs - started, keyMs };
}
