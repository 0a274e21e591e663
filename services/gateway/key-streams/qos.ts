import type { NodeConfig } from '#common/config/node-config.ts';
import type { Qos } from '#gen/keyweave/v1/key_agreement.ts';
import type { StreamTerms } from './stream-terms.ts';

/** Chunk size where the application leaves it to the key manager. */
const DEFAULT_CHUNK_BYTES = 32;

/** Largest chunk whatever the method could derive. */
const MAX_CHUNK_BYTES = 65_536;

/**
 * The nearest QoS to `asked` that this node can meet for a stream of `terms`:
 * what is 0 is chosen, what is too large is lowered (ETSI GS QKD 004 V2.1.1,
 * clause 6.1). Both nodes apply it in turn, so neither gets more than it can do.
 */
export function meetQos(asked: Qos, terms: StreamTerms, limits: NodeConfig['limits']): Qos {
  const largest = Math.min(
    MAX_CHUNK_BYTES,
    terms.method.maxChunkBytes(terms.slots.map((slot) => slot.sharedSecretBytes)),
  );
  const chunk = asked.keyChunkSize === 0 ? DEFAULT_CHUNK_BYTES : asked.keyChunkSize;
  const timeoutMs = asked.timeoutMs === 0 ? limits.default_timeout : asked.timeoutMs;
  return {
    ...asked,
    keyChunkSize: Math.min(chunk, largest),
    timeoutMs: Math.min(timeoutMs, limits.max_timeout),
  };
}

/** Names what of `asked` was not met by `met`; undefined when all of it was. */
export function unmetQos(asked: Qos, met: Qos): string | undefined {
  if (asked.keyChunkSize === met.keyChunkSize) return undefined;
  return `key_chunk_size ${asked.keyChunkSize} cannot be given; the stream is open with ${met.keyChunkSize}`;
}
