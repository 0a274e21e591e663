import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { belowFloor, nodeLayers, type PolicyLayer } from '#common/policy/policy-layers.ts';
import type { PolicyConfig } from '#common/policy/policy-section.ts';
import { STAND_IN, type StreamTerms } from '../stream-terms.ts';

/** What this node's file says of the sources of streams. */
export class NodePolicy {
  readonly #nodeUuid: string;
  readonly #policy: PolicyConfig;

  constructor(nodeUuid: string, policy: PolicyConfig) {
    this.#nodeUuid = nodeUuid;
    this.#policy = policy;
  }

  /**
   * @param listener what the listener says of whose application the stream is; undefined = nothing.
   * @throws KeyweaveError UNSUPPORTED naming the floor that the stream is below.
   */
  assertFloor(terms: StreamTerms, farNode: string, listener: PolicyLayer | undefined): void {
    const layers = nodeLayers(this.#policy, farNode);
    assertLayers(this.#nodeUuid, listener ? [...layers, listener] : layers, terms);
  }

  /** The same of what a listener says alone: the rest has been looked at when the stream was offered. */
  assertFloorOf(listener: PolicyLayer | undefined, terms: StreamTerms): void {
    if (listener) assertLayers(this.#nodeUuid, [listener], terms);
  }
}

function assertLayers(nodeUuid: string, layers: readonly PolicyLayer[], { method, slots }: StreamTerms) {
  const sources = slots.map(({ algorithm }) => algorithm).filter((name) => name !== STAND_IN);
  const below = belowFloor(layers, { method: method.name, sources });
  if (below) throw new KeyweaveError('UNSUPPORTED', below.inWords(nodeUuid));
}
