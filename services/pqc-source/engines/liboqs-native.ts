import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { asBuffer } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { COMPILED } from '#common/service/installation.ts';
import type { KemEngine } from './kem-engine.ts';
import { PackedPrivateKeys } from './packed-private-keys.ts';
import { roundTrip } from './round-trip.ts';

/** Where an operation runs in the addon; a lane's batches never wait for those of another. */
export type Lane = 'light' | 'medium' | 'heavy';

/** Sizes of one KEM of the addon, in bytes. */
export interface KemSizes {
  readonly name: string;
  readonly publicKeyBytes: number;
  readonly privateKeyBytes: number;
  readonly ciphertextBytes: number;
  readonly sharedSecretBytes: number;
}

/** Nanoseconds an operation takes liboqs itself, over a batch. */
export interface RawSpeed {
  readonly generate: number;
  readonly encapsulate: number;
  readonly decapsulate: number;
}

/** The addon's surface, in the order of native/src/lib.rs. Buffers hold items end to end. */
export interface LiboqsNode {
  algorithms(): KemSizes[];
  generateKeyPairs(
    algorithm: string,
    count: number,
    lane: Lane,
  ): Promise<{ publicKeys: Buffer; privateKeys: Buffer }>;
  encapsulate(
    algorithm: string,
    publicKeys: Uint8Array,
    lane: Lane,
  ): Promise<{ ciphertexts: Buffer; sharedSecrets: Buffer }>;
  decapsulate(
    algorithm: string,
    privateKeys: Uint8Array,
    ciphertexts: Uint8Array,
    lane: Lane,
  ): Promise<Buffer>;
  measure(algorithm: string, count: number, lane: Lane): Promise<RawSpeed>;
}

/** Where `make native` puts the addon. */
const BUILT = fileURLToPath(new URL('../native/liboqs-node.node', import.meta.url));

/** Names another addon file; a path without a file behaves as a machine on which nothing was built. */
const PATH_VARIABLE = 'KEYWEAVE_LIBOQS_NODE';

/** The package holds no addon: it is the same for every machine. */
const REMEDY = COMPILED
  ? `take the liboqs-node.node of the release that is for this machine, or build it in a checkout with 'make native', name its path in ${PATH_VARIABLE}`
  : "run 'make native'";

/** Families that take liboqs a millisecond and more for an operation. */
const MEDIUM_FAMILIES: ReadonlySet<string> = new Set(['BIKE', 'HQC', 'FrodoKEM']);

/** Loads the addon. @throws KeyweaveError UNSUPPORTED, with the remedy, where it is not built or does not load. */
export function loadLiboqsNode(path = process.env[PATH_VARIABLE] ?? BUILT): LiboqsNode {
  try {
    return createRequire(import.meta.url)(path) as LiboqsNode;
  } catch (cause) {
    const missing = (cause as { code?: string }).code === 'MODULE_NOT_FOUND';
    throw new KeyweaveError(
      'UNSUPPORTED',
      missing
        ? `the native engine is not built on this machine: ${REMEDY} and start the node again`
        : `the native engine does not load on this machine: ${REMEDY} and start the node again`,
      { cause },
    );
  }
}

/** Lane of an operation: what liboqs itself takes decides. Of Classic McEliece only key generation is slow. */
export function laneOf(algorithm: KemAlgorithm, operation: 'generate' | 'encapsulate' | 'decapsulate'): Lane {
  if (algorithm.cost === 'heavy') return operation === 'generate' ? 'heavy' : 'light';
  return MEDIUM_FAMILIES.has(algorithm.family) ? 'medium' : 'light';
}

/**
 * liboqs 0.13 as native code, on threads of the addon. The only file that
 * talks to the addon: checks every input and re-classes its errors.
 *
 * Public keys are read where they lie: callers leave them alone until the
 * promise settles (KemEngine's contract).
 */
export function createLiboqsNativeEngine(addon: LiboqsNode): KemEngine {
  const name = 'liboqs-native';
  const known = new Map(addon.algorithms().map((sizes) => [sizes.name, sizes] as const));

  function assertSupported(algorithm: KemAlgorithm): void {
    if (!known.has(algorithm.name))
      throw new KeyweaveError('UNSUPPORTED', `the native engine does not have ${algorithm.name}`);
  }

  const engine: KemEngine = {
    name,
    supports: (algorithm) => known.has(algorithm.name),

    async generateKeyPairs(algorithm, count) {
      assertSupported(algorithm);
      const lane = laneOf(algorithm, 'generate');
      const made = await classed(() => addon.generateKeyPairs(algorithm.name, count, lane));
      return {
        publicKeys: made.publicKeys,
        privateKeys: new PackedPrivateKeys(name, made.privateKeys, count),
      };
    },

    async encapsulate(algorithm, publicKeys) {
      assertSupported(algorithm);
      assertStays(publicKeys);
      return classed(() => addon.encapsulate(algorithm.name, publicKeys, laneOf(algorithm, 'encapsulate')));
    },

    async decapsulate(algorithm, privateKeys, ciphertexts) {
      assertSupported(algorithm);
      const keys = PackedPrivateKeys.lend(
        privateKeys,
        name,
        Math.floor(ciphertexts.length / algorithm.ciphertextBytes),
      );
      return classed(() =>
        addon.decapsulate(algorithm.name, asBuffer(keys), ciphertexts, laneOf(algorithm, 'decapsulate')),
      );
    },

    async selfTest() {
      for (const { name: algorithm, ...sizes } of known.values()) assertSizes(algorithm, sizes);
      for (const algorithm of ['ML-KEM-768', 'BIKE-L1'])
        await roundTrip(engine, findKemAlgorithm(algorithm) as KemAlgorithm);
    },

    close: async () => undefined,
  };
  return engine;
}

/** The addon reads public keys from another thread: memory that can shrink or is shared would move under it. */
function assertStays(bytes: Uint8Array): void {
  if (!(bytes.buffer instanceof ArrayBuffer) || bytes.buffer.resizable)
    throw new KeyweaveError('BAD_REQUEST', 'public keys must lie in memory of fixed size');
}

function assertSizes(name: string, sizes: Omit<KemSizes, 'name'>): void {
  const row = findKemAlgorithm(name);
  for (const [size, bytes] of Object.entries(sizes)) {
    if (row?.[size as keyof typeof sizes] !== bytes)
      throw new KeyweaveError('INTERNAL', `the native engine has ${name} with ${size} ${bytes}`);
  }
}

/** Gives the addon's errors a class of ours; why an operation failed is nobody's business. */
async function classed<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (cause) {
    const { code, message } = cause as { code?: string; message: string };
    if (code === 'QueueFull') throw new KeyweaveError('LIMIT_EXCEEDED', 'too many KEM batches are waiting');
    if (code === 'InvalidArg') throw new KeyweaveError('BAD_REQUEST', message, { cause });
    throw new KeyweaveError('AGREEMENT_FAILED', 'key encapsulation failed', { cause });
  }
}
