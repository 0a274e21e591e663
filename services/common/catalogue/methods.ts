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

const hkdfRow = (name: string, hashBytes: number): HybridizationMethodRow => ({
  name,
  compatible: false,
  ordered: true,
  minDistinctSecrets: 1,
  // RFC 5869 §2.3: at most 255 blocks of the hash.
  maxChunkBytes: () => 255 * hashBytes,
});

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
  hkdfRow('hkdf-sha384', 48),
  hkdfRow('hkdf-sha3-256', 32),
] satisfies HybridizationMethodRow[]);

/** The method of that name, whatever its case. */
export function findMethod(name: string): HybridizationMethodRow | undefined {
  const wanted = name.toLowerCase();
  return HYBRIDIZATION_METHODS.find((row) => row.name === wanted);
}
