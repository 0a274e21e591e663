import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { packedItem } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { DeriveRequest, DeriveResponse } from '#gen/keyweave/v1/hybridizer.ts';
import { generateTimeoutMs, STEP_TIMEOUT_MS } from '../../services/gateway/clients/step-limits.ts';
import type { Prng } from './prng.ts';
import type { SimulatedProcess, SimulatedTime } from './simulated-time.ts';
import { Sponge } from './sponge.ts';

interface Given {
  readonly what: string;
  readonly bytes: Uint8Array;
  readonly holder: SimulatedProcess;
}

/** Secrets that were handed out: whoever has them must wipe them, unless it dies. */
export class Secrets {
  #given: Given[] = [];
  #lookAgainAt = 1_024;

  give<T extends Uint8Array>(what: string, bytes: T, holder: SimulatedProcess): T {
    this.#given.push({ what, bytes, holder });
    if (this.#given.length >= this.#lookAgainAt) {
      this.#given = this.#given.filter(isLeft);
      this.#lookAgainAt = 2 * this.#given.length + 1_024;
    }
    return bytes;
  }

  /** What has not been wiped. */
  left(): string[] {
    return this.#given.filter(isLeft).map(({ what }) => what);
  }
}

function isLeft({ bytes, holder }: Given): boolean {
  return holder.alive && bytes.some((byte) => byte !== 0);
}

/** What a call to one of the own services meets at the moment. */
export interface ServiceWeather {
  /** Mean time of a call, milliseconds. */
  workMs: number;
  /** Probability that a call fails. */
  failure: number;
  /** Calls are never answered. */
  hangs: boolean;
}

/** One service of a node: calls to it take time, and fail while it is away. */
export class SimulatedService {
  readonly weather: ServiceWeather = { workMs: 1, failure: 0, hangs: false };
  readonly #time: SimulatedTime;
  readonly #random: Prng;
  readonly #name: string;
  process: SimulatedProcess;

  constructor(name: string, time: SimulatedTime, random: Prng) {
    this.#name = name;
    this.#time = time;
    this.#random = random;
    this.process = { name, alive: true };
  }

  /** Runs `work` when the call's time has come. @throws KeyweaveError SERVICE_UNAVAILABLE, TIMEOUT */
  call<T>(caller: SimulatedProcess, timeoutMs: number, work: () => T, signal?: AbortSignal): Promise<T> {
    const { process } = this;
    const { workMs, failure, hangs } = this.weather;
    const unavailable = () => new KeyweaveError('SERVICE_UNAVAILABLE', `${this.#name} is away`);
    return new Promise((resolve, reject) => {
      const now = this.#time.nowMs;
      if (!process.alive) {
        this.#time.at(now + 1, () => reject(unavailable()), caller);
        return;
      }
      const tooLate = () => reject(new KeyweaveError('TIMEOUT', `${this.#name} did not answer in time`));
      signal?.addEventListener('abort', tooLate, { once: true });
      const takesMs = this.#random.exponential(workMs);
      if (hangs || takesMs > timeoutMs) {
        this.#time.at(now + timeoutMs, tooLate, caller);
        return;
      }
      const fails = this.#random.chance(failure);
      this.#time.at(
        now + takesMs,
        () => {
          // What nobody waits for any more is given up.
          if (signal?.aborted) return;
          if (fails || !process.alive) {
            reject(unavailable());
            return;
          }
          try {
            resolve(work());
          } catch (thrown) {
            reject(thrown);
          }
        },
        caller,
      );
    });
  }
}

/** `count` pieces of `bytes`, each from a sponge of its own. */
function pieces(count: number, bytes: number, from: (i: number) => Sponge): Buffer {
  const all = Buffer.allocUnsafeSlow(count * bytes);
  for (let i = 0; i < count; i++) from(i).squeeze(all.subarray(i * bytes, (i + 1) * bytes));
  return all;
}

/** Public keys or ciphertexts: only their beginnings differ. */
function blanks(count: number, bytes: number, random: Prng): Buffer {
  const all = Buffer.alloc(count * bytes, 0x55);
  for (let i = 0; i < count; i++) random.bytes(NAME_BYTES).copy(all, i * bytes);
  return all;
}

/** What of a public key, or of a ciphertext, tells it from all others. */
const NAME_BYTES = 16;

/**
 * A KEM in name: a ciphertext is good for one public key, and the shared
 * secret follows from both. Private keys live with the service, and go with it.
 */
export class SimulatedKems {
  readonly service: SimulatedService;
  readonly #random: Prng;
  readonly #secrets: Secrets;
  /** Key pairs that are held, by what their holder knows them by. */
  readonly held = new Map<object, number>();

  constructor(service: SimulatedService, random: Prng, secrets: Secrets) {
    this.service = service;
    this.#random = random;
    this.#secrets = secrets;
  }

  /** A session as KemSession is one: what it made goes when pqc-source dies. */
  openSession(caller: SimulatedProcess) {
    const { service } = this;
    let closed = false;
    return {
      generate: (algorithm: string, count: number) =>
        service.call(caller, generateTimeoutMs(algorithm), () => {
          const kem = kemOf(algorithm);
          const publicKeys = blanks(count, kem.publicKeyBytes, this.#random);
          const pairs = { id: this.held.size, publicKeys, opening: 1, kem, process: service.process };
          if (!closed) this.held.set(pairs, count);
          return pairs;
        }),
      decapsulate: (pairs: { publicKeys: Buffer }, ciphertexts: Uint8Array) => {
        const { process, kem } = pairs as unknown as { process: SimulatedProcess; kem: KemAlgorithm };
        // Used up whatever comes of it.
        const isHeld = this.held.delete(pairs);
        return service.call(caller, STEP_TIMEOUT_MS.decapsulate, () => {
          if (!isHeld || process !== service.process) {
            throw new KeyweaveError('SERVICE_UNAVAILABLE', 'pqc-source was restarted');
          }
          return this.#secretsOf(kem, pairs.publicKeys, ciphertexts, caller);
        });
      },
      discard: (pairs: object) => {
        this.held.delete(pairs);
      },
      close: () => {
        closed = true;
      },
    };
  }

  encapsulate(caller: SimulatedProcess, algorithm: string, publicKeys: Uint8Array) {
    return this.service.call(caller, STEP_TIMEOUT_MS.encapsulate, () => {
      const kem = kemOf(algorithm);
      const count = publicKeys.length / kem.publicKeyBytes;
      const ciphertexts = blanks(count, kem.ciphertextBytes, this.#random);
      return { ciphertexts, sharedSecrets: this.#secretsOf(kem, publicKeys, ciphertexts, caller) };
    });
  }

  #secretsOf(
    kem: KemAlgorithm,
    publicKeys: Uint8Array,
    ciphertexts: Uint8Array,
    holder: SimulatedProcess,
  ): Buffer {
    const name = (all: Uint8Array, i: number, bytes: number) =>
      all.subarray(i * bytes, i * bytes + NAME_BYTES);
    return this.#secrets.give(
      'shared secrets of a KEM',
      pieces(ciphertexts.length / kem.ciphertextBytes, kem.sharedSecretBytes, (i) =>
        new Sponge()
          .absorb(name(publicKeys, i, kem.publicKeyBytes))
          .absorb(name(ciphertexts, i, kem.ciphertextBytes)),
      ),
      holder,
    );
  }
}

function kemOf(algorithm: string): KemAlgorithm {
  const kem = findKemAlgorithm(algorithm);
  if (!kem) throw new KeyweaveError('UNSUPPORTED', algorithm);
  return kem;
}

const TAG_BYTES = 32;

/** Derivation in name: everything in the request decides on keys and tags. */
export function simulatedDerive(
  { batches }: DeriveRequest,
  secrets: Secrets,
  holder: SimulatedProcess,
): DeriveResponse {
  return {
    batches: batches.map((batch) => {
      const { context, slots, firstIndex, count, chunkBytes, method } = batch;
      const words = JSON.stringify([
        method,
        chunkBytes,
        { ...context, qkdPosition: `${context?.qkdPosition}`, keyStreamId: '', incarnation: '' },
        slots.map(({ slot }) => slot?.algorithm),
      ]);
      const common = new Sponge().absorb(Buffer.from(words));
      if (context) common.absorb(context.keyStreamId).absorb(context.incarnation);
      const chunk = (i: number) => {
        const sponge = common.copy().absorbNumber(firstIndex + i);
        for (const { secrets: all, secretBytes, publicKeyDigests, ciphertextDigests } of slots) {
          sponge.absorb(all.subarray(i * secretBytes, (i + 1) * secretBytes));
          sponge.absorb(publicKeyDigests.subarray(i * 32, (i + 1) * 32));
          sponge.absorb(ciphertextDigests.subarray(i * 32, (i + 1) * 32));
        }
        return sponge;
      };
      const keys = secrets.give('derived keys', Buffer.allocUnsafeSlow(count * chunkBytes), holder);
      const initiatorTags = Buffer.allocUnsafeSlow(count * TAG_BYTES);
      const responderTags = Buffer.allocUnsafeSlow(count * TAG_BYTES);
      for (let i = 0; i < count; i++) {
        const sponge = chunk(i);
        sponge.squeeze(packedItem(keys, i, chunkBytes));
        sponge.squeeze(packedItem(initiatorTags, i, TAG_BYTES));
        sponge.squeeze(packedItem(responderTags, i, TAG_BYTES));
      }
      return { keys, initiatorTags, responderTags, failure: undefined };
    }),
  };
}
