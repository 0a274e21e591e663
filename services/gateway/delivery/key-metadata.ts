import { policyName } from '#common/policy/policy-layers.ts';
import type { Chunk } from '../streams/chunk-buffer.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { type Degraded, sourcesOf } from '../streams/policy/lacking.ts';
import { type MetadataRoom, MetadataTooSmallError } from './key-delivery.ts';

/** What of a stream its metadata tells. */
export type DescribedStream = Pick<KeyStream, 'ageMs' | 'leeway' | 'qos' | 'route' | 'terms'>;

/** What the metadata of keys of a stream has in common, by what did not go into them. */
const COMMON = new WeakMap<DescribedStream, Map<Degraded, string>>();

/**
 * The metadata of a key: ETSI GS QKD 004 V2.1.1 Table 3 (age, hops), and ours:
 * the sources that went in, the method, the policy that both nodes agreed on,
 * whether it was met, and whether a source that the stream names is not among
 * them. What the policy lets be left out meets it; a stand-in does not. Empty where the stream's QoS wants none.
 *
 * @param wanted whoever lets it be shortened gets the standard's members alone
 *   where there is no room for all, or none.
 * @throws MetadataTooSmallError where it does not fit and must not be shortened.
 */
export function keyMetadata(chunk: Chunk, stream: DescribedStream, wanted: MetadataRoom | undefined): string {
  if (stream.qos.metadataMimetype === '') return '';
  const standard = `{"age":${stream.ageMs(chunk)},"hops":${stream.route.hops}`;
  const all = `${standard}${commonOf(stream, chunk.degraded)}}`;
  if (wanted === undefined || all.length <= wanted.room) return all;
  if (wanted.whenTooSmall === 'refuse') {
    throw new MetadataTooSmallError(all.length, wanted.room);
  }
  return standard.length < wanted.room ? `${standard}}` : '';
}

function commonOf(stream: DescribedStream, degraded: Degraded): string {
  const texts = COMMON.get(stream) ?? new Map<Degraded, string>();
  COMMON.set(stream, texts);
  let common = texts.get(degraded);
  if (common === undefined) {
    const { terms, leeway } = stream;
    const sources = JSON.stringify(sourcesOf(terms, degraded));
    common =
      `,"sources":${sources},"method":"${terms.method.name}","policy":"${policyName(leeway.mayLack)}"` +
      `,"policy_met":${degraded !== 'shared_seed'},"degraded":${degraded !== false}`;
    texts.set(degraded, common);
  }
  return common;
}
