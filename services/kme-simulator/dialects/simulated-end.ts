import type { Address } from '#common/config/fields.ts';

/** One key manager of the simulated network, as it is reached over the network. */
export interface SimulatedEnd {
  /** Connections accepted so far. */
  readonly connections: number;
  /**
   * Listens; a second start after a stop takes the same port again.
   *
   * @throws KeyweaveError BAD_CONFIG when the address cannot be bound.
   */
  start(address: Address): Promise<Address>;
  /** Stops as a machine that is switched off: every connection is cut. */
  stop(): Promise<void>;
}
