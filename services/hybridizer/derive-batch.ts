import { setImmediate as nextTurn } from 'node:timers/promises';
import { findMethod, type HybridizationMethodRow } from '#common/catalogue/methods.ts';
import { asBuffer, ownMemory, packedItem, wipe } from '#common/crypto/bytes.ts';
import { failureOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { DeriveBatch, DerivedBatch } from '#gen/keyweave/v1/hybridizer.ts';
import { confirmationTags, TAG_BYTES } from './confirmation.ts';
import { ChunkContext } from './context.ts';
import type { HybridizationMethod } from './methods/method.ts';
import { assertSound } from './sound-secrets.ts';

const MAX_COUNT = MESSAGE_LIMITS.deriveChunks.taken;
const MAX_SLOTS = MESSAGE_LIMITS.slots.taken;
const MAX_SECRET_BYTES = 1024;
const DIGEST_BYTES = 32;

/** Work between two turns of the event loop, chunks: well below 5 ms. */
const CHUNKS_PER_TURN = 64;

/** Batches in one call. */
const MAX_BATCHES = MESSAGE_LIMITS.deriveBatches.taken;

const NOTHING = Buffer.alloc(0);

/**
 * Derives several batches, in order; one that cannot be derived carries its
 * failure and leaves the others alone. Wipes the secrets of all of them
 * whatever happens; the caller owns the keys of the answer.
 *
 * @throws KeyweaveError BAD_REQUEST for too many batches.
 */
export async function deriveBatches(
  methods: ReadonlyMap<string, HybridizationMethod>,
  requests: readonly DeriveBatch[],
): Promise<DerivedBatch[]> {
  const derived: DerivedBatch[] = [];
  try {
    if (requests.length > MAX_BATCHES) bad(`at most ${MAX_BATCHES} batches in one call`);
    for (const request of requests) derived.push(await derivedOrFailure(methods, request));
    return derived;
  } catch (error) {
    wipe(...derived.map((batch) => batch.keys));
    for (const request of requests) wipe(...request.slots.map((slot) => slot.secrets));
    throw error;
  }
}

async function derivedOrFailure(
  methods: ReadonlyMap<string, HybridizationMethod>,
  request: DeriveBatch,
): Promise<DerivedBatch> {
  try {
    return await deriveBatch(methods, request);
  } catch (thrown) {
    if (!(thrown instanceof KeyweaveError)) throw thrown;
    return {
      keys: NOTHING,
      initiatorTags: NOTHING,
      responderTags: NOTHING,
      failure: failureOf(thrown),
    };
  }
}

/**
 * Derives a batch. Wipes the request's secrets whatever happens; the caller
 * owns the keys of the answer.
 *
 * @throws KeyweaveError BAD_REQUEST, UNSUPPORTED, SOURCE_FAULT, or QOS_NOT_MET
 *   naming the largest chunk size that the method can fill from these secrets.
 */
export async function deriveBatch(
  methods: ReadonlyMap<string, HybridizationMethod>,
  request: DeriveBatch,
): Promise<DerivedBatch> {
  let keys: Buffer | undefined;
  try {
    const method = methodOf(methods, request);
    if (!request.context) throw new KeyweaveError('BAD_REQUEST', 'the batch has no context');
    const { count, chunkBytes, slots, firstIndex } = request;
    const context = new ChunkContext(request, request.context);
    const names = slots.map(({ slot }) => slot?.algorithm ?? '');
    keys = ownMemory(count * chunkBytes);
    const initiatorTags = Buffer.allocUnsafeSlow(count * TAG_BYTES);
    const responderTags = Buffer.allocUnsafeSlow(count * TAG_BYTES);
    for (let i = 0; i < count; i++) {
      if (i > 0 && i % CHUNKS_PER_TURN === 0) await nextTurn();
      const secrets = slots.map((slot) => packedItem(asBuffer(slot.secrets), i, slot.secretBytes));
      assertSound(secrets, names, firstIndex + i);
      const chunkContext = context.of(i);
      method.derive(secrets, chunkContext, packedItem(keys, i, chunkBytes));
      confirmationTags(secrets, chunkContext, {
        initiatorTag: packedItem(initiatorTags, i, TAG_BYTES),
        responderTag: packedItem(responderTags, i, TAG_BYTES),
      });
    }
    return { keys, initiatorTags, responderTags, failure: undefined };
  } catch (error) {
    wipe(keys);
    throw error;
  } finally {
    wipe(...request.slots.map((slot) => slot.secrets));
  }
}

function methodOf(
  methods: ReadonlyMap<string, HybridizationMethod>,
  request: DeriveBatch,
): HybridizationMethod {
  const row = findMethod(request.method);
  const method = row && methods.get(row.name);
  if (!row || !method) {
    throw new KeyweaveError('UNSUPPORTED', `unknown hybridization method ${JSON.stringify(request.method)}`);
  }
  checkShape(request);
  if (request.slots.length < row.minDistinctSecrets) throw tooFewSecrets(row);
  checkChunkSize(row, request);
  return method;
}

function checkShape({ count, slots, chunkBytes, firstIndex }: DeriveBatch): void {
  if (count < 1 || count > MAX_COUNT) bad(`count must be 1 to ${MAX_COUNT}, not ${count}`);
  if (firstIndex + count > 0xffffffff) bad('the index runs past its range');
  if (slots.length < 1 || slots.length > MAX_SLOTS)
    bad(`slots must be 1 to ${MAX_SLOTS}, not ${slots.length}`);
  if (chunkBytes < 1) bad('chunk_bytes must be at least 1');
  slots.forEach(({ slot, secrets, secretBytes, publicKeyDigests, ciphertextDigests }, i) => {
    if (!slot) bad(`slot ${i} has no description`);
    if (secretBytes < 1 || secretBytes > MAX_SECRET_BYTES) {
      bad(`slot ${i}: secret_bytes must be 1 to ${MAX_SECRET_BYTES}`);
    }
    if (secrets.length !== count * secretBytes)
      bad(`slot ${i}: secrets are not ${count} of ${secretBytes} bytes`);
    for (const digests of [publicKeyDigests, ciphertextDigests]) {
      if (digests.length !== 0 && digests.length !== count * DIGEST_BYTES)
        bad(`slot ${i}: wrong number of digests`);
    }
  });
}

function tooFewSecrets({ name }: HybridizationMethodRow): KeyweaveError {
  return new KeyweaveError('UNSUPPORTED', `${name} needs two distinct secrets; the batch has one`);
}

function checkChunkSize(row: HybridizationMethodRow, { slots, chunkBytes }: DeriveBatch): void {
  const largest = row.maxChunkBytes(slots.map((slot) => slot.secretBytes));
  if (chunkBytes > largest) {
    throw new KeyweaveError(
      'QOS_NOT_MET',
      `${row.name} cannot fill ${chunkBytes} bytes from these sources; the largest possible size is ${largest}`,
    );
  }
}

function bad(detail: string): never {
  throw new KeyweaveError('BAD_REQUEST', detail);
}
