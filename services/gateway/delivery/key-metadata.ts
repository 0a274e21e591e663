import type { Chunk } from '../streams/chunk-buffer.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { type MetadataRoom, MetadataTooSmallError } from './key-delivery.ts';

/** What of a stream its metadata tells. */
export type DescribedStream = Pick<KeyStream, 'ageMs' | 'qos' | 'route' | 'terms'>;

/** What the metadata of every key of a stream has in common. */
const COMMON = new WeakMap<DescribedStream, string>();

/**
 * The metadata of a key: ETSI GS QKD 004 V2.1.1 Table 3 (age, hops), and ours:
 * the sources that went in, the method, and whether the agreed policy was met
 * by them all. Empty where the stream's QoS wants none.
 *
 * @param wanted whoever lets it be shortened gets the standard's members alone
 *   where there is no room for all, or none.
 * @throws MetadataTooSmallError where it does not fit and must not be shortened.
 */
export function keyMetadata(chunk: Chunk, stream: DescribedStream, wanted: MetadataRoom | undefined): string {
  if (stream.qos.metadataMimetype === '') return '';
  const standard = `{"age":${stream.ageMs(chunk)},"hops":${stream.route.hops}`;
  const all = `${standard}${commonOf(stream)},"policy_met":${!chunk.degraded},"degraded":${chunk.degraded}}`;
  if (wanted === undefined || all.length <= wanted.room) return all;
  if (wanted.whenTooSmall === 'refuse') {
    throw new MetadataTooSmallError(all.length, wanted.room);
  }
  return standard.length < wanted.room ? `${standard}}` : '';
}

function commonOf(stream: DescribedStream): string {
  let common = COMMON.get(stream);
  if (common === undefined) {
    const { slots, method } = stream.terms;
    const sources = JSON.stringify(slots.map((slot) => slot.algorithm));
    common = `,"sources":${sources},"method":"${method.name}"`;
    COMMON.set(stream, common);
  }
  return common;
}
