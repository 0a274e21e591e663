import { wipe } from '#common/crypto/bytes.ts';
import { failureOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { failpoint } from '#common/service/failpoint.ts';
import type { BatchAnswer, BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { EncapsulateResponse } from '#gen/keyweave/v1/pqc_source.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../../clients/node-services.ts';
import { fetchTogether, type QkdNeed } from '../../clients/qkd-stream.ts';
import { countQkdSlots, isQkd, QKD_SECRET_BYTES } from '../../streams/stream-terms.ts';
import { batchLimit, RoundBudget } from '../batch-limit.ts';
import { type BatchInputs, deriveTogether, type SlotContribution, standInSecrets } from '../derivation.ts';
import { type KemGroup, KemGroups, type KemShare, shareOf } from '../kem-groups.ts';
import type { HeldBatches } from './held-batches.ts';

/** An offer and the exchange of its stream, or why there is none. */
export interface ReceivedOffer {
  readonly offer: BatchOffer;
  readonly exchange: HeldBatches | KeyweaveError;
}

interface Entry {
  readonly offer: BatchOffer;
  readonly exchange: HeldBatches;
  /** Chunks that there is room for, and that this end makes of one batch at most. */
  readonly count: number;
  readonly most: number;
  readonly shares: readonly (KemShare | undefined)[];
}

type Derived = Awaited<ReturnType<typeof deriveTogether>>[number];

type Encapsulated = ReadonlyMap<KemGroup, EncapsulateResponse | KeyweaveError>;

/**
 * The responder's half of a round: each step is one call for all batches. The
 * keys are held back, unreleased, until the initiator confirms them. A batch
 * that fails leaves the others alone. However much is offered, this end makes
 * no more of a batch, and of all of them together, than its own limits say.
 */
export async function answerRound(
  services: NodeServices,
  offers: readonly ReceivedOffer[],
): Promise<BatchAnswer[]> {
  const groups = new KemGroups();
  const { chunks, bytes, cost } = MESSAGE_LIMITS;
  const budget = new RoundBudget({ chunks: chunks.taken, bytes: bytes.taken, cost: cost.taken });
  const admitted = offers.map((received) => admit(services, received, budget, groups));
  const entries = admitted.filter((entry): entry is Entry => !(entry instanceof KeyweaveError));
  let answers: (BatchAnswer | KeyweaveError)[];
  try {
    await failpoint('responder.admitted');
    answers = await produce(services, entries, groups.groups);
  } catch (thrown) {
    answers = entries.map(() => KeyweaveError.from(thrown));
  }
  entries.forEach(({ exchange, offer }, i) => {
    const answer = answers[i];
    if (!(answer instanceof KeyweaveError)) return;
    services.sourceFaults.note(exchange.stream, offer.firstIndex, answer);
    exchange.fail();
  });
  let next = 0;
  return admitted.map((entry) => {
    const answer = entry instanceof KeyweaveError ? entry : (answers[next++] as BatchAnswer | KeyweaveError);
    return answer instanceof KeyweaveError ? failedAnswer(answer) : answer;
  });
}

function admit(
  services: NodeServices,
  { offer, exchange }: ReceivedOffer,
  budget: RoundBudget,
  groups: KemGroups,
): Entry | KeyweaveError {
  if (exchange instanceof KeyweaveError) return exchange;
  try {
    const { stream } = exchange;
    const most = batchLimit(stream, services.limits.max_batch_chunks);
    const affordable = budget.affordable(stream, most);
    if (affordable === 0) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        'the offers of this message ask for more than one message may',
      );
    }
    const count = exchange.admit(offer, affordable);
    budget.spend(stream, count);
    const shares = exchange.stream.terms.slots.map((slot, i) =>
      isQkd(slot) || i === offer.degradedSlot - 1 ? undefined : groups.add(slot, count),
    );
    return { offer, exchange, count, most, shares };
  } catch (thrown) {
    return KeyweaveError.from(thrown);
  }
}

async function produce(
  services: NodeServices,
  entries: readonly Entry[],
  groups: readonly KemGroup[],
): Promise<(BatchAnswer | KeyweaveError)[]> {
  const made = await encapsulate(services, entries, groups);
  try {
    await failpoint('responder.fetch');
    const needs = await Promise.all(entries.map((entry) => qkdNeed(entry, made)));
    const fetched = await fetchTogether(
      services,
      needs.flatMap((need) => (need && !(need instanceof KeyweaveError) ? [need] : [])),
    );
    let next = 0;
    const inputs = entries.map((entry, i) => {
      const need = needs[i];
      const keys = need && !(need instanceof KeyweaveError) ? fetched[next++] : need;
      try {
        return inputsOf(services, entry, made, keys);
      } catch (thrown) {
        if (Buffer.isBuffer(keys)) wipe(keys);
        return KeyweaveError.from(thrown);
      }
    });
    const derived = await deriveTogether(services, inputs);
    await failpoint('responder.derived');
    return entries.map((entry, i) => hold(entry, inputs[i] as BatchInputs, derived[i] as Derived));
  } finally {
    for (const result of made.values()) if (!(result instanceof KeyweaveError)) wipe(result.sharedSecrets);
  }
}

async function encapsulate(
  services: NodeServices,
  entries: readonly Entry[],
  groups: readonly KemGroup[],
): Promise<Encapsulated> {
  const results = await Promise.all(
    groups.map(async (group): Promise<EncapsulateResponse | KeyweaveError> => {
      const { slot, count } = group;
      try {
        const made = await services.pqcSource.encapsulate(
          { algorithm: slot.algorithm, publicKeys: publicKeysOf(group, entries), peerNode: peerOf(entries) },
          { timeoutMs: STEP_TIMEOUT_MS.encapsulate },
        );
        if (
          made.ciphertexts.length === count * slot.ciphertextBytes &&
          made.sharedSecrets.length === count * slot.sharedSecretBytes
        ) {
          return made;
        }
        wipe(made.sharedSecrets);
        return new KeyweaveError('INTERNAL', 'pqc-source answered with a wrong size');
      } catch (thrown) {
        return KeyweaveError.from(thrown);
      }
    }),
  );
  return new Map(groups.map((group, i) => [group, results[i] as EncapsulateResponse | KeyweaveError]));
}

/** All batches of a round are one peer's. */
function peerOf([first]: readonly Entry[]): string {
  return first?.exchange.stream.peerNode ?? '';
}

function publicKeysOf(group: KemGroup, entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap(({ offer, shares, count }) =>
    offer.publicKeys
      .filter(({ slot }) => shares[slot]?.group === group)
      .map(({ publicKeys }) => publicKeys.subarray(0, count * group.slot.publicKeyBytes)),
  );
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

/** What the batch needs of its QKD link, which moves to the initiator's epoch; undefined for none. */
async function qkdNeed(
  { offer, exchange, count, shares }: Entry,
  made: Encapsulated,
): Promise<QkdNeed | KeyweaveError | undefined> {
  for (const share of shares) {
    const result = share && made.get(share.group);
    if (result instanceof KeyweaveError) return result;
  }
  if (!offer.qkd) return undefined;
  try {
    await exchange.qkd.follow(offer.qkd);
  } catch (thrown) {
    return KeyweaveError.from(thrown);
  }
  return { link: exchange.qkd, count: count * countQkdSlots(exchange.stream.terms, offer.degradedSlot) };
}

/** Everything that goes into the batch; where its only QKD slot runs low, it gets shorter rather than failing. */
function inputsOf(
  services: NodeServices,
  { offer, exchange, count, shares }: Entry,
  made: Encapsulated,
  qkdKeys: Buffer | KeyweaveError | undefined,
): BatchInputs | KeyweaveError {
  if (qkdKeys instanceof KeyweaveError) return qkdKeys;
  const { stream } = exchange;
  const qkdSlots = countQkdSlots(stream.terms, offer.degradedSlot);
  const got = Math.floor((qkdKeys?.length ?? 0) / QKD_SECRET_BYTES);
  const possible = qkdSlots === 1 ? Math.min(count, got) : got >= count * qkdSlots ? count : 0;
  if (possible === 0) {
    wipe(qkdKeys);
    return new KeyweaveError('INSUFFICIENT_KEY', 'the key manager of the other node has run dry');
  }
  qkdKeys?.fill(0, possible * qkdSlots * QKD_SECRET_BYTES);
  let nextQkd = 0;
  const slots = stream.terms.slots.map((slot, i): SlotContribution => {
    const share = shares[i];
    if (share) {
      const part = { ...share, count: possible };
      const { ciphertexts, sharedSecrets } = made.get(share.group) as EncapsulateResponse;
      const offered = offer.publicKeys.find((entry) => entry.slot === i)?.publicKeys as Uint8Array;
      return {
        secrets: shareOf(sharedSecrets, part, slot.sharedSecretBytes),
        publicKeys: offered.subarray(0, possible * slot.publicKeyBytes),
        ciphertexts: shareOf(ciphertexts, part, slot.ciphertextBytes),
      };
    }
    if (i === offer.degradedSlot - 1) {
      return { secrets: standInSecrets(services, stream, i, offer.firstIndex, possible) };
    }
    const start = nextQkd++ * possible * QKD_SECRET_BYTES;
    return { secrets: (qkdKeys as Buffer).subarray(start, start + possible * QKD_SECRET_BYTES) };
  });
  const { firstIndex: first, qkd, degradedSlot } = offer;
  return { stream, first, count: possible, slots, qkd, degradedSlot };
}

function hold(
  { offer, exchange, most }: Entry,
  inputs: BatchInputs | KeyweaveError,
  derived: Derived,
): BatchAnswer | KeyweaveError {
  if (inputs instanceof KeyweaveError) return inputs;
  if (derived instanceof KeyweaveError) return derived;
  const { keys, initiatorTags, responderTags } = derived;
  try {
    exchange.hold(offer, { count: inputs.count, keys, initiatorTags });
  } catch (thrown) {
    return KeyweaveError.from(thrown);
  }
  return {
    count: inputs.count,
    ciphertexts: inputs.slots.flatMap(({ ciphertexts }, slot) =>
      ciphertexts ? [{ slot, ciphertexts }] : [],
    ),
    responderTags,
    buffered: exchange.stream.buffer.size,
    failure: undefined,
    qkdBlockKeys: exchange.qkd.givenBlockKeys,
    most,
  };
}

function failedAnswer(error: KeyweaveError): BatchAnswer {
  const nothing = Buffer.alloc(0);
  const failure = failureOf(error);
  return {
    count: 0,
    ciphertexts: [],
    responderTags: nothing,
    buffered: 0,
    failure,
    qkdBlockKeys: 0,
    most: 0,
  };
}
