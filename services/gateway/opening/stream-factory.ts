import type { NodeConfig } from '#common/config/node-config.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { NodeServices } from '../clients/node-services.ts';
import type { MemoryStreamStore } from '../store/memory-stream-store.ts';
import { KeyStream, type StreamRole } from '../streams/key-stream.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';

export interface NewStream {
  readonly ksid: string;
  readonly incarnation: Buffer;
  readonly terms: StreamTerms;
  readonly role: StreamRole;
  readonly qos: Qos;
  readonly predefined: boolean;
}

/** Makes this end of a stream, within this node's limits. */
export class StreamFactory {
  readonly #config: NodeConfig;
  readonly #services: NodeServices;
  readonly #registry: MemoryStreamStore;

  constructor(config: NodeConfig, services: NodeServices, registry: MemoryStreamStore) {
    this.#config = config;
    this.#services = services;
    this.#registry = registry;
  }

  create({ ksid, incarnation, terms, role, qos, predefined }: NewStream): KeyStream {
    const { limits } = this.#config;
    const peerNode = role === 'initiator' ? terms.destinationNode : terms.sourceNode;
    return new KeyStream({
      id: ksid,
      incarnation,
      terms,
      role,
      peerNode,
      qos,
      predefined,
      allowDegraded: false,
      maxPrefetchChunks: limits.max_prefetch_chunks,
      maxBufferedChunks: limits.max_buffered_chunks,
      maxBufferedBytes: limits.max_buffered_bytes,
      held: this.#registry.heldFor(peerNode),
      now: this.#services.now,
    });
  }

  /** Whether this node's policy lets a shared_seed stand in for a source of a stream with `peerNode`. */
  mayDegrade(peerNode: string): boolean {
    return (
      this.#config.policy.missing_source === 'shared_seed' &&
      this.#services.sharedSeed(peerNode) !== undefined
    );
  }
}
