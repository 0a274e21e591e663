import { availableParallelism } from 'node:os';
import type { Piscina } from 'piscina';
import { findKemAlgorithm, type KemAlgorithm, type KemCost } from '#common/catalogue/kems.ts';
import { asBuffer, ownCopy, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { startable } from '#common/service/installation.ts';
import type { KemEngine } from './kem-engine.ts';
import type { WorkerAnswer, WorkerTask } from './kem-worker-task.ts';
import { PackedPrivateKeys } from './packed-private-keys.ts';
import { roundTrip } from './round-trip.ts';

/** Factories of @oqs/liboqs-js by the reference's names. Its FrodoKEM is the salted one: the reference's is eFrodoKEM there. */
const FACTORIES: Readonly<Record<string, string>> = Object.freeze({
  ...Object.fromEntries(
    ['348864', '460896', '6688128', '6960119', '8192128'].flatMap((set) =>
      ['', 'f'].map((variant) => [
        `Classic-McEliece-${set}${variant}`,
        `createClassicMcEliece${set}${variant}`,
      ]),
    ),
  ),
  'HQC-128': 'createHQC128',
  'HQC-192': 'createHQC192',
  'HQC-256': 'createHQC256',
  Kyber512: 'createKyber512',
  Kyber768: 'createKyber768',
  Kyber1024: 'createKyber1024',
  'ML-KEM-512': 'createMLKEM512',
  'ML-KEM-768': 'createMLKEM768',
  'ML-KEM-1024': 'createMLKEM1024',
  sntrup761: 'createSntrup761',
  'FrodoKEM-640-AES': 'createEFrodoKEM640AES',
  'FrodoKEM-976-AES': 'createEFrodoKEM976AES',
  'FrodoKEM-1344-AES': 'createEFrodoKEM1344AES',
  'FrodoKEM-640-SHAKE': 'createEFrodoKEM640SHAKE',
  'FrodoKEM-976-SHAKE': 'createEFrodoKEM976SHAKE',
  'FrodoKEM-1344-SHAKE': 'createEFrodoKEM1344SHAKE',
});

/** Batches that may wait for a worker. */
const MAX_QUEUE = 256;

/** An idle worker gives its memory back after this. */
const IDLE_MS = 30_000;

/** What the engine needs of a pool of workers. */
export type WorkerPool = Pick<Piscina<WorkerTask, WorkerAnswer>, 'run' | 'queueSize' | 'destroy'>;

/**
 * liboqs as WebAssembly, in worker threads. Heavy algorithms have a pool of
 * their own, so that seconds of key generation hold up nobody else.
 */
export function createLiboqsWasmEngine(startPool: () => Promise<WorkerPool> = startWorkers): KemEngine {
  const pools = new Map<'medium' | 'heavy', Promise<WorkerPool>>();

  function poolOf(cost: KemCost): Promise<WorkerPool> {
    const kind = cost === 'heavy' ? 'heavy' : 'medium';
    let pool = pools.get(kind);
    if (!pool) {
      pool = startPool();
      pools.set(kind, pool);
    }
    return pool;
  }

  async function run(
    algorithm: KemAlgorithm,
    operation: WorkerTask['operation'],
    count: number,
    first: Uint8Array,
    second: Uint8Array,
  ): Promise<WorkerAnswer> {
    const factory = FACTORIES[algorithm.name];
    if (factory === undefined)
      throw new KeyweaveError('UNSUPPORTED', `the WASM engine does not have ${algorithm.name}`);
    const pool = await poolOf(algorithm.cost);
    if (pool.queueSize >= MAX_QUEUE)
      throw new KeyweaveError('LIMIT_EXCEEDED', 'too many KEM batches are waiting');
    const { publicKeyBytes, privateKeyBytes, ciphertextBytes, sharedSecretBytes } = algorithm;
    // A view would cross over with all that lies around it, and a clone would stay here.
    const sent = { first: ownCopy(first), second: ownCopy(second) };
    const task: WorkerTask = {
      operation,
      factory,
      count,
      publicKeyBytes,
      privateKeyBytes,
      ciphertextBytes,
      sharedSecretBytes,
      ...sent,
    };
    const moving = Object.values(sent).map(({ buffer }) => buffer as ArrayBuffer);
    try {
      // Piscina takes a list; its type is that of the other form of postMessage.
      return await pool.run(task, { transferList: moving as never });
    } catch (cause) {
      throw new KeyweaveError('AGREEMENT_FAILED', 'key encapsulation failed', { cause });
    } finally {
      // What has moved is detached; what never got away is wiped.
      for (const memory of moving) if (!memory.detached) wipe(new Uint8Array(memory));
    }
  }

  const name = 'liboqs-wasm';
  const none = new Uint8Array(0);
  const engine: KemEngine = {
    name,
    supports: (algorithm) => FACTORIES[algorithm.name] !== undefined,

    async generateKeyPairs(algorithm, count) {
      const made = await run(algorithm, 'generate', count, none, none);
      return {
        publicKeys: asBuffer(made.first),
        privateKeys: new PackedPrivateKeys(name, made.second, count),
      };
    },

    async encapsulate(algorithm, publicKeys) {
      const count = publicKeys.length / algorithm.publicKeyBytes;
      const made = await run(algorithm, 'encapsulate', count, publicKeys, none);
      return { ciphertexts: asBuffer(made.first), sharedSecrets: asBuffer(made.second) };
    },

    async decapsulate(algorithm, privateKeys, ciphertexts) {
      const count = ciphertexts.length / algorithm.ciphertextBytes;
      const keys = PackedPrivateKeys.lend(privateKeys, name, count);
      const made = await run(algorithm, 'decapsulate', count, ciphertexts, keys);
      return asBuffer(made.second);
    },

    async selfTest() {
      await roundTrip(engine, findKemAlgorithm('Kyber512') as KemAlgorithm);
      // Started for this only; a worker comes back when somebody needs it.
      await engine.close();
    },

    async close() {
      const started = [...pools.values()];
      pools.clear();
      for (const pool of started) await (await pool).destroy();
    },
  };
  return engine;
}

/** Loaded on first use: a node that speaks ML-KEM only never pays for it. */
async function startWorkers(): Promise<WorkerPool> {
  const { Piscina } = await import('piscina');
  return new Piscina({
    filename: startable('./kem-worker.ts', import.meta.url).href,
    minThreads: 0,
    maxThreads: Math.max(1, availableParallelism()),
    idleTimeout: IDLE_MS,
  });
}
