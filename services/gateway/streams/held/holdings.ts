import type { KeyStream } from '../key-stream.ts';
import type { StreamFacts } from '../stream-events.ts';

/** What of a stream is looked at when somebody asks what streams hold. */
export type ObservedStream = StreamFacts & Pick<KeyStream, 'buffer' | 'producer' | 'local' | 'peer'>;

/** What some streams hold together. */
export interface Holdings {
  open: number;
  /** Those that the applications of both ends have joined. */
  joined: number;
  /** Confirmed keys that wait for an application of this node. */
  buffered: number;
  /** Keys on their way, not confirmed yet. */
  coming: number;
  /** GET_KEYs that wait for a key. */
  waiting: number;
}

export function noHoldings(): Holdings {
  return { open: 0, joined: 0, buffered: 0, coming: 0, waiting: 0 };
}

/** What streams hold, by the name that `groupOf` gives each of them. */
export function holdingsBy(
  streams: Iterable<ObservedStream>,
  groupOf: (stream: ObservedStream) => string,
): Map<string, Holdings> {
  const groups = new Map<string, Holdings>();
  for (const stream of streams) {
    const { buffer, producer, local, peer } = stream;
    const group = groupOf(stream);
    const sum = groups.get(group) ?? noHoldings();
    groups.set(group, sum);
    sum.open += 1;
    sum.joined += local === 'joined' && peer === 'joined' ? 1 : 0;
    sum.buffered += buffer.size;
    sum.coming += producer.coming;
    sum.waiting += buffer.waiting;
  }
  return groups;
}
