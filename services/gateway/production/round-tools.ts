import type { Clock } from '#common/time/clock.ts';
import type { HybridizerClient } from '../clients/hybridizer-client.ts';
import type { KemClient } from '../clients/kem-client.ts';
import type { SharedSeeds } from '../clients/shared-seeds.ts';

/** Where the rounds of both roles get what goes into a key, and the key. */
export interface RoundTools {
  readonly kem: KemClient;
  readonly hybridizer: HybridizerClient;
  readonly seeds: SharedSeeds;
  /** Long work gives others their turn by it. */
  readonly clock: Pick<Clock, 'soon'>;
}
