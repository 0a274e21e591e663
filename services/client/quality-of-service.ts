/** QoS of ETSI GS QKD 004 V2.1.1, Table 2. What is 0 is left to the nodes. */
export interface QualityOfService {
  /** Bytes of a key. */
  readonly keyChunkSize: number;
  /** Most that is delivered at this end, bit/s. */
  readonly maxBps: number;
  /** Least that the nodes must be able to give, bit/s. */
  readonly minBps: number;
  /** Deviation of the delivery rate that is allowed, bit/s. */
  readonly jitter: number;
  /** 0 least, 7 most. */
  readonly priority: number;
  /** Milliseconds that each call waits at the node before it is answered with status 6. */
  readonly timeoutMs: number;
  /** Seconds until the stream and its keys are gone. */
  readonly ttlS: number;
  /** `application/json`, or empty for keys without metadata. */
  readonly metadataMimetype: string;
}

/** Where the node names no timeout of its own, and where none is asked for. */
export const DEFAULT_TIMEOUT_MS = 10_000;

export const DEFAULT_QOS: QualityOfService = Object.freeze({
  keyChunkSize: 32,
  maxBps: 0,
  minBps: 0,
  jitter: 0,
  priority: 0,
  timeoutMs: DEFAULT_TIMEOUT_MS,
  ttlS: 0,
  metadataMimetype: 'application/json',
});

/** Largest key that this library takes, bytes. */
export const MAX_KEY_BYTES = 65_536;

const MOST = 0xffff_ffff;
const MAX_MIMETYPE_BYTES = 256;

/** What is wrong with a QoS, in words; undefined where it can be asked for, or be an answer. */
export function faultOfQos(qos: QualityOfService): string | undefined {
  for (const [name, value] of Object.entries(qos)) {
    if (name === 'metadataMimetype') continue;
    if (!Number.isInteger(value) || value < 0 || value > MOST) {
      return `${name} must be a whole number from 0 to ${MOST}`;
    }
  }
  const { keyChunkSize, metadataMimetype } = qos;
  if (keyChunkSize > MAX_KEY_BYTES) return `keyChunkSize may be ${MAX_KEY_BYTES} bytes at most`;
  if (typeof metadataMimetype !== 'string' || Buffer.byteLength(metadataMimetype) > MAX_MIMETYPE_BYTES) {
    return `metadataMimetype must be a text of ${MAX_MIMETYPE_BYTES} bytes at most`;
  }
  return undefined;
}
