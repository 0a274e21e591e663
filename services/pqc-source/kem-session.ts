import type { KemAlgorithm } from '#common/catalogue/kems.ts';
import { asBuffer, countPacked } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { KeyPairsRequest, KeyPairsResponse } from '#gen/keyweave/v1/pqc_source.ts';
import type { EngineSet } from './engine-set.ts';
import { decapsulateJoined } from './engines/joined-key-pairs.ts';
import type { KemEngine, PrivateKeyBatch } from './engines/kem-engine.ts';
import type { KeyPairPool } from './key-pair-pool.ts';

export const MAX_COUNT = MESSAGE_LIMITS.kemItems.taken;

/** Batches of private keys that one session may hold. */
const MAX_BATCHES = 16_384;

interface HeldBatch {
  readonly algorithm: KemAlgorithm;
  readonly engine: KemEngine;
  readonly privateKeys: PrivateKeyBatch;
}

type Outcome = Partial<Omit<KeyPairsResponse, 'id'>>;

/**
 * One session of a gateway, a KeyPairs call: makes key pairs and decapsulates
 * with them. Private keys never leave it; each batch serves one decapsulation
 * and is then wiped, and the rest is wiped when the session ends.
 */
export async function* serveKemSession(
  engines: EngineSet,
  pool: KeyPairPool,
  requests: AsyncIterable<KeyPairsRequest>,
  signal: AbortSignal,
): AsyncGenerator<Partial<KeyPairsResponse>> {
  const held = new Map<number, HeldBatch>();
  const answers = new PushQueue<Partial<KeyPairsResponse>>();
  let open = true;
  let running = 0;

  async function generate(id: number, name: string, count: number): Promise<Outcome> {
    const { algorithm, engine } = engines.find(name);
    assertCount(algorithm, count);
    if (held.has(id)) throw new KeyweaveError('BAD_REQUEST', `id ${id} is in use`);
    if (held.size >= MAX_BATCHES)
      throw new KeyweaveError('LIMIT_EXCEEDED', 'too many batches of private keys are held');
    const { publicKeys, privateKeys } = await pool.generate(algorithm, engine, count);
    if (open) held.set(id, { algorithm, engine, privateKeys });
    else privateKeys.wipe();
    return { publicKeys };
  }

  async function decapsulate(keyPairsId: number, ciphertexts: Uint8Array): Promise<Outcome> {
    const batch = held.get(keyPairsId);
    if (!batch) throw new KeyweaveError('AGREEMENT_FAILED', 'the private keys of this batch are gone');
    held.delete(keyPairsId);
    const { algorithm, engine, privateKeys } = batch;
    try {
      const count = countPacked('ciphertexts', ciphertexts, algorithm.ciphertextBytes);
      if (count > privateKeys.count)
        throw new KeyweaveError('BAD_REQUEST', 'more ciphertexts than private keys');
      return {
        sharedSecrets: await decapsulateJoined(engine, algorithm, privateKeys, asBuffer(ciphertexts)),
      };
    } finally {
      privateKeys.wipe();
    }
  }

  async function execute(request: KeyPairsRequest): Promise<Outcome | undefined> {
    if (request.generate) return generate(request.id, request.generate.algorithm, request.generate.count);
    if (request.decapsulate)
      return decapsulate(request.decapsulate.keyPairsId, request.decapsulate.ciphertexts);
    if (request.discard) {
      held.get(request.discard.keyPairsId)?.privateKeys.wipe();
      held.delete(request.discard.keyPairsId);
      return undefined;
    }
    throw new KeyweaveError('BAD_REQUEST', 'the request names no operation');
  }

  async function serve(request: KeyPairsRequest): Promise<void> {
    running += 1;
    try {
      const outcome = await execute(request);
      if (outcome) answers.push({ id: request.id, ...outcome });
    } catch (thrown) {
      const { reason, detail } = KeyweaveError.from(thrown);
      answers.push({ id: request.id, failure: { reason, detail } });
    } finally {
      running -= 1;
      if (!open && running === 0) answers.end();
    }
  }

  async function readAll(): Promise<void> {
    try {
      for await (const request of requests) void serve(request);
    } finally {
      open = false;
      if (running === 0) answers.end();
    }
  }

  const end = () => {
    open = false;
    answers.end();
  };
  signal.addEventListener('abort', end, { once: true });
  const reading = readAll().catch(() => undefined);
  try {
    yield* answers;
  } finally {
    open = false;
    signal.removeEventListener('abort', end);
    for (const { privateKeys } of held.values()) privateKeys.wipe();
    held.clear();
    void reading;
  }
}

/** A batch must fit one message; a single key pair always does. */
export function assertCount(algorithm: KemAlgorithm, count: number): void {
  const fits = count === 1 || count * algorithm.publicKeyBytes <= MESSAGE_LIMITS.kemBytes.taken;
  if (count < 1 || count > MAX_COUNT || !fits) {
    throw new KeyweaveError('BAD_REQUEST', `${count} key pairs of ${algorithm.name} do not make a batch`);
  }
}
