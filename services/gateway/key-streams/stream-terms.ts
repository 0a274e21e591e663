import { findKemAlgorithm } from '#common/algorithms/kem-algorithms.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { findMethod, type HybridizationMethodRow } from '#common/hybridization/method-table.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { SourceSlot } from '#gen/keyweave/v1/key_agreement.ts';

/** Slots that one stream may weave. */
const MAX_SLOTS = MESSAGE_LIMITS.slots.filled;
const MAX_URI_BYTES = 4096;

/** Secret of a QKD slot, bytes: the size that the reference asks its key managers for by default. */
export const QKD_SECRET_BYTES = 32;

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

const URI = /^hybrid:\/\/([^@/?#\s]+)@([^@/?#\s]+)\/?(?:\?([^#\s]*))?$/i;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * Reads the pair of application URIs, `hybrid://<name>@<node uuid>?hybridization=…`.
 * As in the reference only the source's query counts; names are case-insensitive.
 *
 * @throws KeyweaveError NO_ROUTE for a URI that cannot be read, UNSUPPORTED for
 *   a method or source that nobody knows.
 */
export function parseStreamTerms(source: string, destination: string, defaults: TermsDefaults): StreamTerms {
  const from = parseUri('source', source);
  const to = parseUri('destination', destination);
  if (from.node === to.node) {
    throw new KeyweaveError('NO_ROUTE', `source and destination name the same node ${from.node}`);
  }
  const methodName = from.query.get('hybridization') ?? defaults.method;
  const method = findMethod(methodName);
  if (!method) throw new KeyweaveError('UNSUPPORTED', `unknown hybridization method ${quote(methodName)}`);
  return {
    source,
    destination,
    sourceNode: from.node,
    destinationNode: to.node,
    method,
    slots: slotNames(from.query, defaults).map(slotOf),
  };
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
  if (!kem)
    throw new KeyweaveError('UNSUPPORTED', `unknown key source ${quote(name)}; see 'keyweave algorithms'`);
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

/** Slots that take QKD keys; where a shared_seed stands in for one (`degradedSlot`, plus one; 0 = none) it does not count. */
export function countQkdSlots({ slots }: StreamTerms, degradedSlot: number): number {
  return slots.filter((slot, i) => isQkd(slot) && i !== degradedSlot - 1).length;
}

function slotNames(query: URLSearchParams, defaults: TermsDefaults): readonly string[] {
  const list = query.get('key_sources');
  const kem = query.get('kem_mec');
  if (list !== null && kem !== null) {
    throw new KeyweaveError('NO_ROUTE', 'the source URI has both key_sources and kem_mec; give one of them');
  }
  const names =
    list !== null
      ? list.split(',').map((name) => name.trim())
      : kem !== null
        ? [kem, 'QKD']
        : defaults.keySources;
  if (names.length > MAX_SLOTS) {
    throw new KeyweaveError(
      'UNSUPPORTED',
      `key_sources names ${names.length} sources; at most ${MAX_SLOTS} are woven`,
    );
  }
  return names;
}

function parseUri(what: string, uri: string): { node: string; query: URLSearchParams } {
  if (uri.length > MAX_URI_BYTES)
    throw new KeyweaveError('NO_ROUTE', `the ${what} URI is over ${MAX_URI_BYTES} bytes`);
  const match = URI.exec(uri);
  const node = match?.[2]?.toLowerCase();
  if (!match || node === undefined || !UUID.test(node)) {
    throw new KeyweaveError(
      'NO_ROUTE',
      `the ${what} is not of the form hybrid://<name>@<node uuid>?hybridization=<method>&kem_mec=<KEM>: ${quote(uri)}`,
    );
  }
  return { node, query: new URLSearchParams(match[3] ?? '') };
}

/** Client text in a message: short and on one line. */
function quote(text: string): string {
  const short = text.length > 120 ? `${text.slice(0, 120)}…` : text;
  return JSON.stringify(short);
}
