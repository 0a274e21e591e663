import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  belowFloor,
  mayLeaveOut,
  nodeLayers,
  type PolicyLayer,
  requiresQkd,
} from '#common/policy/policy-layers.ts';
import type { PolicyConfig } from '#common/policy/policy-section.ts';
import type { KeyStream } from '../key-stream.ts';
import { isKem, replaceableSlot, STAND_IN, type StreamTerms } from '../stream-terms.ts';
import { bothLet, LACKS_NOTHING, type MayLack, type SourceKind, sourcesWithout } from './lacking.ts';

/** What this node's file says of the sources of streams. */
export class NodePolicy {
  readonly #nodeUuid: string;
  readonly #policy: PolicyConfig;

  constructor(nodeUuid: string, policy: PolicyConfig) {
    this.#nodeUuid = nodeUuid;
    this.#policy = policy;
  }

  /** @throws KeyweaveError UNSUPPORTED naming the floor of this node, for all or for this peer, that the stream is below. */
  assertFloor(terms: StreamTerms, farNode: string): void {
    assertLayers(this.#nodeUuid, nodeLayers(this.#policy, farNode), terms);
  }

  /** The same of what a listener says of its applications' streams; undefined = nothing. */
  assertFloorOf(listener: PolicyLayer | undefined, terms: StreamTerms): void {
    if (listener) assertLayers(this.#nodeUuid, [listener], terms);
  }

  /**
   * What a chunk of the stream may lack as far as this node is concerned: what
   * is left is above every floor, and enough for the method.
   */
  mayLack(terms: StreamTerms, farNode: string, listener: PolicyLayer | undefined): MayLack {
    const layers = nodeLayers(this.#policy, farNode);
    const own = mayLackBy(layers, layers, terms);
    return listener ? narrowed(own, listener, terms) : own;
  }

  /** An application has come through a listener that lets less be: so does this end of the stream from now on. */
  narrow({ terms, leeway, buffer }: KeyStream, listener: PolicyLayer | undefined): void {
    if (listener === undefined) return;
    leeway.narrow(narrowed(leeway.mayLack, listener, terms), mayReplaceBy([listener], terms), buffer);
  }

  /** Whether no policy wants QKD itself where a shared_seed could stand in for it. */
  mayReplace(terms: StreamTerms, farNode: string, listener: PolicyLayer | undefined): boolean {
    const layers = nodeLayers(this.#policy, farNode);
    return mayReplaceBy(listener ? [...layers, listener] : layers, terms);
  }
}

function mayReplaceBy(layers: readonly PolicyLayer[], terms: StreamTerms): boolean {
  if (replaceableSlot(terms) === undefined) return true;
  const sources = terms.slots.filter(isKem).map(({ algorithm }) => algorithm);
  return !requiresQkd(layers) && belowFloor(layers, { method: terms.method.name, sources }) === undefined;
}

function narrowed(mayLack: MayLack, listener: PolicyLayer, terms: StreamTerms): MayLack {
  const said = listener.sources === undefined ? undefined : [listener];
  const by = said ? mayLackBy(said, said, terms) : mayLackBy(undefined, [listener], terms);
  return bothLet(mayLack, by);
}

/** @param saying layers of which one has to let it be; undefined where that is known. */
function mayLackBy(
  saying: readonly PolicyLayer[] | undefined,
  floors: readonly PolicyLayer[],
  terms: StreamTerms,
): MayLack {
  const may = (kind: SourceKind) => {
    const sources = sourcesWithout(terms, kind);
    if (sources === undefined || (saying && !mayLeaveOut(saying, kind))) return false;
    return belowFloor(floors, { method: terms.method.name, sources }) === undefined;
  };
  const mayLack = { qkd: may('qkd'), pqc: may('pqc') };
  return mayLack.qkd || mayLack.pqc ? mayLack : LACKS_NOTHING;
}

function assertLayers(nodeUuid: string, layers: readonly PolicyLayer[], { method, slots }: StreamTerms) {
  const sources = slots.map(({ algorithm }) => algorithm).filter((name) => name !== STAND_IN);
  const below = belowFloor(layers, { method: method.name, sources });
  if (below) throw new KeyweaveError('UNSUPPORTED', below.inWords(nodeUuid));
}
