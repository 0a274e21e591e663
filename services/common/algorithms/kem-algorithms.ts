/** How costly an algorithm is; decides where it runs, so that nothing else waits behind it. */
export type KemCost = 'light' | 'medium' | 'heavy';

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
  /** What a user should know before choosing it. */
  readonly note: string;
}

type Sizes = readonly [publicKey: number, privateKey: number, ciphertext: number, sharedSecret: number];

interface Family {
  readonly family: string;
  readonly revision: string;
  readonly cost: KemCost;
  readonly note: string;
}

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
  ...rows({ family: 'BIKE', revision: 'bike-5.2', cost: 'medium', note: 'needs the native engine' }, [
    ['BIKE-L1', 1, [1541, 5223, 1573, 32]],
    ['BIKE-L3', 3, [3083, 10105, 3115, 32]],
    ['BIKE-L5', 5, [5122, 16494, 5154, 32]],
  ]),
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
      note: 'round 4; not what HQC-1/3/5 of the coming standard is',
    },
    [
      ['HQC-128', 1, [2249, 2305, 4433, 64]],
      ['HQC-192', 3, [4522, 4586, 8978, 64]],
      ['HQC-256', 5, [7245, 7317, 14_421, 64]],
    ],
  ),
  ...rows({ family: 'Kyber', revision: 'kyber-round3', cost: 'medium', note: 'superseded by ML-KEM' }, [
    ['Kyber512', 1, [800, 1632, 768, 32]],
    ['Kyber768', 3, [1184, 2400, 1088, 32]],
    ['Kyber1024', 5, [1568, 3168, 1568, 32]],
  ]),
  ...rows({ family: 'ML-KEM', revision: 'FIPS203', cost: 'light', note: 'NIST standard FIPS 203' }, [
    ['ML-KEM-512', 1, [800, 1632, 768, 32]],
    // The reference's manual prints ML-KEM-786.
    ['ML-KEM-768', 3, [1184, 2400, 1088, 32], ['ML-KEM-786']],
    ['ML-KEM-1024', 5, [1568, 3168, 1568, 32]],
  ]),
  ...rows({ family: 'NTRU Prime', revision: 'ntruprime-round3', cost: 'medium', note: '' }, [
    ['sntrup761', 3, [1158, 1763, 1039, 32]],
  ]),
  ...rows(
    {
      family: 'FrodoKEM',
      revision: 'frodo-ephemeral',
      cost: 'medium',
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
