/** One hybridization method as both gateway and hybridizer know it. */
export interface HybridizationMethodRow {
  readonly name: string;
  /** Bit for bit the reference's (standards of the field: NIST SP 800-133r2 §6.3). */
  readonly compatible: boolean;
  /** True where secrets are joined in the agreed order; the compatible methods sort them. */
  readonly ordered: boolean;
  /** Fewest secrets, each distinct, that make a key: `xorhmac` of one is zero, and the others of one are that one. */
  readonly minDistinctSecrets: number;
  /** Largest chunk, bytes, in which every byte has a contribution of every secret. */
  maxChunkBytes(secretBytes: readonly number[]): number;
}

/** A method of ours: in the agreed order, and of any number of secrets. */
const orderedRow = (name: string, maxChunkBytes: number): HybridizationMethodRow => ({
  name,
  compatible: false,
  ordered: true,
  minDistinctSecrets: 1,
  maxChunkBytes: () => maxChunkBytes,
});

/** RFC 5869 §2.3: at most 255 blocks of the hash. */
const HKDF_BLOCKS = 255;

const hkdfRow = (name: string, hashBytes: number) => orderedRow(name, HKDF_BLOCKS * hashBytes);

const SHA384_BYTES = 48;

/** KMAC gives any length; no chunk is longer than what this node's other methods give. */
const KMAC_MAX_BYTES = HKDF_BLOCKS * SHA384_BYTES;

/** HMAC-SHA-256 gives 32 bytes; the reference pads beyond them, which is refused here. */
const HMAC_BYTES = 32;

const hmacRow = (name: string): HybridizationMethodRow => ({
  name,
  compatible: true,
  ordered: false,
  minDistinctSecrets: 2,
  maxChunkBytes: () => HMAC_BYTES,
});

/** Every method, by name. */
export const HYBRIDIZATION_METHODS: readonly HybridizationMethodRow[] = Object.freeze([
  {
    name: 'xoring',
    compatible: true,
    ordered: false,
    minDistinctSecrets: 2,
    maxChunkBytes: (secretBytes) => Math.min(...secretBytes),
  },
  hmacRow('hmac'),
  hmacRow('xorhmac'),
  hkdfRow('hkdf-sha256', 32),
  hkdfRow('hkdf-sha384', SHA384_BYTES),
  hkdfRow('hkdf-sha3-256', 32),
  orderedRow('kmac256', KMAC_MAX_BYTES),
  // ETSI TS 103 744 V1.2.1 with HKDF-SHA-384; CasKDF's last round gives its chain first.
  hkdfRow('catkdf', SHA384_BYTES),
  orderedRow('caskdf', (HKDF_BLOCKS - 1) * SHA384_BYTES),
] satisfies HybridizationMethodRow[]);

/** The method of that name, whatever its case. */
export function findMethod(name: string): HybridizationMethodRow | undefined {
  const wanted = name.toLowerCase();
  return HYBRIDIZATION_METHODS.find((row) => row.name === wanted);
}
