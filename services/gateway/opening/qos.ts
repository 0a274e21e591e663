import { findKemAlgorithm, type KemCost } from '#common/catalogue/kems.ts';
import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { LONGEST_TIMER_MS } from '#common/time/clock.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { isQkd, type StreamTerms } from '../streams/stream-terms.ts';

/** Chunk size where the application leaves it to the key manager. */
const DEFAULT_CHUNK_BYTES = 32;

/** Largest chunk whatever the method could derive. */
const MAX_CHUNK_BYTES = 65_536;

/** What a TTL of 0 means: a day, so that a forgotten stream does not live for ever. */
const DEFAULT_TTL_S = 86_400;

/** Longest life of a stream: what one timer of the run time takes, 24.8 days. */
const MAX_TTL_S = Math.floor(LONGEST_TIMER_MS / 1000);

/** The media type that every key manager must accept, and the only one that this one makes. */
const METADATA_MIMETYPE = 'application/json';

/** Chunks a second that a stream can count on, by the cost of its slowest KEM; each is about a fifth of what was measured alone. */
const CHUNKS_PER_SECOND: Readonly<Record<KemCost, number>> = { light: 200, medium: 20, heavy: 0.1 };

export interface QosLimits {
  readonly limits: NodeConfig['limits'];
  readonly qkd: Pick<NodeConfig['qkd'], 'key_rate_bps'>;
}

/**
 * The nearest QoS to `asked` that this node can meet for a stream of `terms`:
 * what is 0 is chosen, what is too large is lowered (ETSI GS QKD 004 V2.1.1,
 * clause 6.1 and Table 2). Both nodes apply it in turn, so neither gets more
 * than it can do. Jitter and Priority have no value that cannot be met; an
 * empty Metadata_mimetype means that no metadata is wanted.
 */
export function meetQos(asked: Qos, terms: StreamTerms, { limits, qkd }: QosLimits): Qos {
  const largest = Math.min(
    MAX_CHUNK_BYTES,
    terms.method.maxChunkBytes(terms.slots.map((slot) => slot.sharedSecretBytes)),
  );
  const chunk = asked.keyChunkSize === 0 ? DEFAULT_CHUNK_BYTES : asked.keyChunkSize;
  const keyChunkSize = Math.min(chunk, largest);
  const timeoutMs = asked.timeoutMs === 0 ? limits.default_timeout : asked.timeoutMs;
  const [mimetype = ''] = asked.metadataMimetype.split(';');
  const ceiling = asked.maxBps === 0 ? Number.POSITIVE_INFINITY : asked.maxBps;
  return {
    ...asked,
    keyChunkSize,
    minBps: Math.min(asked.minBps, sustainableBps(keyChunkSize, terms, qkd.key_rate_bps), ceiling),
    timeoutMs: Math.min(timeoutMs, limits.max_timeout),
    ttlS: Math.min(asked.ttlS === 0 ? DEFAULT_TTL_S : asked.ttlS, MAX_TTL_S),
    metadataMimetype: mimetype.trim() === '' ? '' : METADATA_MIMETYPE,
  };
}

/**
 * The QoS that both nodes can meet, from what this one asked and what the
 * other one `answered`, which may only be less. Whatever it says of the rest,
 * which each end sees to by itself, does not count.
 *
 * @throws KeyweaveError AGREEMENT_FAILED for another chunk size than both ends could use.
 */
export function agreedQos(asked: Qos, answered: Qos | undefined): Qos {
  const bytes = answered?.keyChunkSize ?? 0;
  if (!answered || bytes < 1 || bytes > asked.keyChunkSize) {
    throw new KeyweaveError(
      'AGREEMENT_FAILED',
      `the other node answers with a key_chunk_size of ${bytes}, where ${asked.keyChunkSize} at most was offered`,
    );
  }
  return {
    ...asked,
    keyChunkSize: bytes,
    minBps: Math.min(asked.minBps, answered.minBps),
    timeoutMs: answered.timeoutMs === 0 ? asked.timeoutMs : Math.min(asked.timeoutMs, answered.timeoutMs),
  };
}

/** Names what of `asked` was not met by `met`; undefined when all of it was. */
export function unmetQos(asked: Qos, met: Qos): string | undefined {
  const unmet: string[] = [];
  const note = (name: string, wanted: number | string, given: number | string) => {
    if (wanted !== given)
      unmet.push(`${name} ${JSON.stringify(wanted)} cannot be given, ${JSON.stringify(given)} can`);
  };
  note('key_chunk_size', asked.keyChunkSize, met.keyChunkSize);
  note('min_bps', asked.minBps, met.minBps);
  if (asked.timeoutMs !== 0) note('timeout', asked.timeoutMs, met.timeoutMs);
  if (asked.ttlS !== 0) note('ttl', asked.ttlS, met.ttlS);
  if (!asked.metadataMimetype.toLowerCase().startsWith(METADATA_MIMETYPE)) {
    note('metadata_mimetype', asked.metadataMimetype, met.metadataMimetype);
  }
  if (unmet.length === 0) return undefined;
  return `${unmet.join('; ')}; the stream is open with what can be given`;
}

/**
 * Bit/s that the sources of a stream can be counted on for: its slowest KEM,
 * and the key manager's rate where it is known. Less than one chunk a second
 * is no rate that an application could mean (see DeliveryRate).
 */
function sustainableBps(keyChunkSize: number, { slots }: StreamTerms, keyRateBps: number): number {
  const chunkBits = keyChunkSize * 8;
  // What is no KEM costs no more than the lightest of them.
  const byKem = slots.map((slot) => CHUNKS_PER_SECOND[findKemAlgorithm(slot.algorithm)?.cost ?? 'light']);
  const qkdBits = slots.filter(isQkd).length * QKD_SECRET_BYTES * 8;
  // Without a QKD slot any rate will do: infinity.
  const byQkd = keyRateBps === 0 ? Number.POSITIVE_INFINITY : keyRateBps / qkdBits;
  return Math.max(chunkBits - 1, Math.floor(chunkBits * Math.min(...byKem, byQkd)));
}
