/** How costly an algorithm is; decides where it runs, so that nothing else waits behind it. */
export type KemCost = 'light' | 'medium' | 'heavy';

/** The libraries that do KEM operations; which of them a machine has is known at run time. */
export const KEM_ENGINE_NAMES = ['openssl', 'liboqs-native', 'liboqs-wasm'] as const;

export type KemEngineName = (typeof KEM_ENGINE_NAMES)[number];

/** One KEM of the reference's list, with the facts that both ends of a stream must share. */
export interface KemAlgorithm {
  /** As the reference prints it. */
  readonly name: string;
  readonly aliases: readonly string[];
  readonly family: string;
  readonly nistLevel: 1 | 2 | 3 | 4 | 5;
  /** Revision of the specification; nodes refuse each other where it differs. */
  readonly revision: string;
  readonly publicKeyBytes: number;
  readonly privateKeyBytes: number;
  readonly ciphertextBytes: number;
  readonly sharedSecretBytes: number;
  readonly cost: KemCost;
  /** Engines that implement this revision, best first; see docs/algorithms.md for why. */
  readonly engines: readonly KemEngineName[];
  /** What a user should know before choosing it. */
  readonly note: string;
}

type Sizes = readonly [publicKey: number, privateKey: number, ciphertext: number, sharedSecret: number];

interface Family {
  readonly family: string;
  readonly revision: string;
  readonly cost: KemCost;
  readonly engines: readonly KemEngineName[];
  readonly note: string;
}

/** Native code is 3 to 100 times faster than WASM. */
const LIBOQS: readonly KemEngineName[] = Object.freeze(['liboqs-native', 'liboqs-wasm'] as const);

/**
 * Native first: a batch takes it a third of OpenSSL's time, and on threads of
 * its own where OpenSSL's is the event loop's.
 */
const ML_KEM_ENGINES: readonly KemEngineName[] = Object.freeze([
  'liboqs-native',
  'openssl',
  'liboqs-wasm',
] as const);

/**
 * WASM first, though slower: it is liboqs 0.15, where the secret-dependent
 * branches that compilers make of 0.13's HQC are dealt with (CVE-2025-52473,
 * fixed in 0.14).
 */
const HQC_ENGINES: readonly KemEngineName[] = Object.freeze(['liboqs-wasm', 'liboqs-native'] as const);

function rows(
  family: Family,
  members: readonly (readonly [
    name: string,
    level: KemAlgorithm['nistLevel'],
    sizes: Sizes,
    aliases?: string[],
  ])[],
): KemAlgorithm[] {
  return members.map(
    ([name, nistLevel, [publicKeyBytes, privateKeyBytes, ciphertextBytes, sharedSecretBytes], aliases]) =>
      Object.freeze({
        name,
        aliases: aliases ?? [],
        nistLevel,
        publicKeyBytes,
        privateKeyBytes,
        ciphertextBytes,
        sharedSecretBytes,
        ...family,
      }),
  );
}

const MCELIECE: Family = {
  family: 'Classic McEliece',
  revision: 'mceliece-round4',
  cost: 'heavy',
  engines: LIBOQS,
  note: 'very large public keys, slow key generation',
};

/** Each parameter set has a variant with faster key generation, marked f, of the same sizes. */
function mceliece(name: string, level: KemAlgorithm['nistLevel'], sizes: Sizes): KemAlgorithm[] {
  return rows(MCELIECE, [
    [`Classic-McEliece-${name}`, level, sizes],
    [`Classic-McEliece-${name}f`, level, sizes],
  ]);
}

/** The reference's 29 KEMs, in the reference's order. */
export const KEM_ALGORITHMS: readonly KemAlgorithm[] = Object.freeze([
  ...rows(
    {
      family: 'BIKE',
      revision: 'bike-5.2',
      cost: 'medium',
      engines: ['liboqs-native'],
      note: 'needs the native engine (make native)',
    },
    [
      ['BIKE-L1', 1, [1541, 5223, 1573, 32]],
      ['BIKE-L3', 3, [3083, 10_105, 3115, 32]],
      ['BIKE-L5', 5, [5122, 16_494, 5154, 32]],
    ],
  ),
  ...mceliece('348864', 1, [261_120, 6492, 96, 32]),
  ...mceliece('460896', 3, [524_160, 13_608, 156, 32]),
  ...mceliece('6688128', 5, [1_044_992, 13_932, 208, 32]),
  ...mceliece('6960119', 5, [1_047_319, 13_948, 194, 32]),
  ...mceliece('8192128', 5, [1_357_824, 14_120, 208, 32]),
  ...rows(
    {
      family: 'HQC',
      revision: 'hqc-round4',
      cost: 'medium',
      engines: HQC_ENGINES,
      // The aliases also name a later revision, of other sizes: nodes compare revisions and sizes at Open.
      note: 'round 4 of 2023-04-30, not the later HQC-1/3/5; not IND-CCA2: only for one-time keys, as here',
    },
    [
      ['HQC-128', 1, [2249, 2305, 4433, 64], ['HQC-1']],
      ['HQC-192', 3, [4522, 4586, 8978, 64], ['HQC-3']],
      ['HQC-256', 5, [7245, 7317, 14_421, 64], ['HQC-5']],
    ],
  ),
  ...rows(
    {
      family: 'Kyber',
      revision: 'kyber-round3',
      cost: 'medium',
      engines: LIBOQS,
      note: 'superseded by ML-KEM',
    },
    [
      ['Kyber512', 1, [800, 1632, 768, 32]],
      ['Kyber768', 3, [1184, 2400, 1088, 32]],
      ['Kyber1024', 5, [1568, 3168, 1568, 32]],
    ],
  ),
  ...rows(
    {
      family: 'ML-KEM',
      revision: 'FIPS203',
      cost: 'light',
      engines: ML_KEM_ENGINES,
      note: 'NIST standard FIPS 203',
    },
    [
      ['ML-KEM-512', 1, [800, 1632, 768, 32]],
      // The reference's manual prints ML-KEM-786.
      ['ML-KEM-768', 3, [1184, 2400, 1088, 32], ['ML-KEM-786']],
      ['ML-KEM-1024', 5, [1568, 3168, 1568, 32]],
    ],
  ),
  ...rows({ family: 'NTRU Prime', revision: 'ntruprime-round3', cost: 'medium', engines: LIBOQS, note: '' }, [
    ['sntrup761', 3, [1158, 1763, 1039, 32]],
  ]),
  ...rows(
    {
      family: 'FrodoKEM',
      revision: 'frodo-ephemeral',
      cost: 'medium',
      engines: LIBOQS,
      note: "the reference's, now called eFrodoKEM; the salted FrodoKEM differs",
    },
    [
      ['FrodoKEM-640-AES', 1, [9616, 19_888, 9720, 16], ['eFrodoKEM-640-AES']],
      ['FrodoKEM-976-AES', 3, [15_632, 31_296, 15_744, 24], ['eFrodoKEM-976-AES']],
      ['FrodoKEM-1344-AES', 5, [21_520, 43_088, 21_632, 32], ['eFrodoKEM-1344-AES']],
      ['FrodoKEM-640-SHAKE', 1, [9616, 19_888, 9720, 16], ['eFrodoKEM-640-SHAKE']],
      ['FrodoKEM-976-SHAKE', 3, [15_632, 31_296, 15_744, 24], ['eFrodoKEM-976-SHAKE']],
      ['FrodoKEM-1344-SHAKE', 5, [21_520, 43_088, 21_632, 32], ['eFrodoKEM-1344-SHAKE']],
    ],
  ),
]);

const BY_NAME: ReadonlyMap<string, KemAlgorithm> = new Map(
  KEM_ALGORITHMS.flatMap((row) =>
    [row.name, ...row.aliases].map((name) => [name.toLowerCase(), row] as const),
  ),
);

/** The KEM of that name or alias, whatever its case. */
export function findKemAlgorithm(name: string): KemAlgorithm | undefined {
  return BY_NAME.get(name.toLowerCase());
}
