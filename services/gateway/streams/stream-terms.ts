import { findKemAlgorithm } from '#common/catalogue/kems.ts';
import { findMethod, type HybridizationMethodRow } from '#common/catalogue/methods.ts';
import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type ApplicationUri, parseApplicationUri, quote } from '#common/etsi/application-uri.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { StreamRole } from './producer.ts';

/** Slots that one stream may weave. */
const MAX_SLOTS = MESSAGE_LIMITS.slots.filled;

/** What both URIs say: who, with whom, and how. */
export interface StreamTerms {
  readonly source: string;
  readonly destination: string;
  readonly sourceNode: string;
  readonly destinationNode: string;
  readonly method: HybridizationMethodRow;
  readonly slots: readonly SourceSlot[];
}

export interface TermsDefaults {
  readonly method: string;
  readonly keySources: readonly string[];
}

/**
 * Stands in for the second source of a method that needs two secrets where the
 * URI names one: as a slot of its own, whose secret both ends derive from the
 * seed agreed beforehand. No URI can name it.
 */
export const STAND_IN = 'SHARED-SEED';

/**
 * Reads the pair of application URIs, `hybrid://<name>@<node uuid>?hybridization=…`.
 * As in the reference only the source's query counts; the names of methods and
 * sources are case-insensitive.
 *
 * @throws KeyweaveError NO_ROUTE for a URI that cannot be read, UNSUPPORTED for
 *   a method, source or parameter that nobody knows, and for a method that
 *   makes no key of so few sources.
 */
export function parseStreamTerms(source: string, destination: string, defaults: TermsDefaults): StreamTerms {
  return withEnoughSecrets(readStreamTerms(source, destination, defaults), { mayDegrade: false });
}

/** What the URIs say, as `parseStreamTerms` reads them; whether that makes a key is for `withEnoughSecrets` to say. */
export function readStreamTerms(source: string, destination: string, defaults: TermsDefaults): StreamTerms {
  const from = parseApplicationUri('source', source);
  const to = parseApplicationUri('destination', destination);
  if (from.node === to.node) {
    throw new KeyweaveError('NO_ROUTE', `source and destination name the same node ${from.node}`);
  }
  const methodName = from.parameter('hybridization') ?? defaults.method;
  if (methodName === '') throw unsupported('hybridization of the source URI names no method');
  const method = findMethod(methodName);
  if (!method) throw unsupported(`unknown hybridization method ${quote(methodName)}`);
  return {
    source,
    destination,
    sourceNode: from.node,
    destinationNode: to.node,
    method,
    slots: sourceNames(from, defaults).map(slotOf),
  };
}

/**
 * The terms with as many secrets as their method needs: one that lacks the
 * second gets the stand-in as its last slot where the policy of both nodes
 * lets it.
 *
 * @param policy `mayDegrade`, and the node that does not let it where that is known.
 * @throws KeyweaveError UNSUPPORTED, saying what to do.
 */
export function withEnoughSecrets(
  terms: StreamTerms,
  policy: { mayDegrade: boolean; barredBy?: string },
): StreamTerms {
  const { method, slots } = terms;
  if (slots.length >= method.minDistinctSecrets) return terms;
  const [only] = slots;
  if (only && policy.mayDegrade) return { ...terms, slots: [only, standInFor(only)] };
  const whose = policy.barredBy === undefined ? '' : `, which node ${policy.barredBy} does not allow`;
  throw unsupported(
    `${method.name} needs two distinct secrets and ${only?.algorithm} gives one: name a second source in key_sources, ` +
      `use hkdf-sha384, or let the shared_seed stand in (policy.missing_source: "shared_seed" at both nodes, with a shared_seed for each other${whose})`,
  );
}

/** The node at the other end of a stream that this node leads, or does not. */
export function farNodeOf(
  { sourceNode, destinationNode }: Pick<StreamTerms, 'sourceNode' | 'destinationNode'>,
  role: StreamRole,
): string {
  return role === 'initiator' ? destinationNode : sourceNode;
}

/** Method and sources in words. */
export function termsInWords(method: string, sources: readonly string[]): string {
  return `${method} of ${sources.join(', ') || 'no source'}`;
}

/** Slot of the stand-in that the terms name; undefined = none. */
export function standInSlot({ slots }: StreamTerms): number | undefined {
  return slotWhere(slots, (slot) => slot.algorithm === STAND_IN);
}

/**
 * The slot that a shared_seed may stand in for while its source is missing at
 * both ends; undefined = none. The seed's rule: the QKD slot of a list of QKD
 * and one KEM. It is both ends' to check.
 */
export function replaceableSlot({ slots }: StreamTerms): number | undefined {
  const isBesideKem = slots.length === 2 && slots.some(isKem);
  return isBesideKem ? slotWhere(slots, isQkd) : undefined;
}

function slotWhere(slots: readonly SourceSlot[], is: (slot: SourceSlot) => boolean): number | undefined {
  const at = slots.findIndex(is);
  return at < 0 ? undefined : at;
}

/** The slot of one source name. */
export function slotOf(name: string): SourceSlot {
  if (name.toUpperCase() === 'QKD') {
    return {
      algorithm: 'QKD',
      revision: '',
      publicKeyBytes: 0,
      ciphertextBytes: 0,
      sharedSecretBytes: QKD_SECRET_BYTES,
    };
  }
  const kem = findKemAlgorithm(name);
  if (!kem) throw unsupported(`unknown key source ${quote(name)}; see 'keyweave algorithms'`);
  return {
    algorithm: kem.name,
    revision: kem.revision,
    publicKeyBytes: kem.publicKeyBytes,
    ciphertextBytes: kem.ciphertextBytes,
    sharedSecretBytes: kem.sharedSecretBytes,
  };
}

export function isQkd(slot: SourceSlot): boolean {
  return slot.algorithm === 'QKD';
}

/** Whether pqc-source makes the slot's secrets. */
export function isKem(slot: SourceSlot): boolean {
  return !isQkd(slot) && slot.algorithm !== STAND_IN;
}

/** The stand-in beside a slot: of the same length, so that the chunk size depends on that one alone. */
export function standInFor({ sharedSecretBytes }: SourceSlot): SourceSlot {
  return { algorithm: STAND_IN, revision: '', publicKeyBytes: 0, ciphertextBytes: 0, sharedSecretBytes };
}

/** Slots that take QKD keys; where a shared_seed stands in for one (`standIn`) it does not count, and none does where QKD is left out. */
export function countQkdSlots({ slots }: StreamTerms, standIn: number | undefined, leftOut?: string): number {
  return leftOut === 'qkd' ? 0 : slots.filter((slot, i) => isQkd(slot) && i !== standIn).length;
}

function sourceNames(from: ApplicationUri, defaults: TermsDefaults): readonly string[] {
  const list = from.parameter('key_sources');
  const kem = from.parameter('kem_mec');
  if (list !== null && kem !== null) {
    throw new KeyweaveError('NO_ROUTE', 'the source URI has both key_sources and kem_mec; give one of them');
  }
  if (kem === '') throw unsupported('kem_mec of the source URI names no KEM');
  if (list === '') throw unsupported('key_sources of the source URI names no source');
  const names =
    list !== null
      ? list.split(',').map((name) => name.trim())
      : kem !== null
        ? [kem, 'QKD']
        : defaults.keySources;
  if (list !== null && names.includes(''))
    throw unsupported('key_sources of the source URI has an empty name in it');
  if (names.length === 0) throw unsupported('no key source is named');
  if (names.length > MAX_SLOTS)
    throw unsupported(`key_sources names ${names.length} sources; at most ${MAX_SLOTS} are woven`);
  return names;
}

function unsupported(detail: string): KeyweaveError {
  return new KeyweaveError('UNSUPPORTED', detail);
}
