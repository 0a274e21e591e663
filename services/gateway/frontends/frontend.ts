import type { Address } from '#common/config/fields.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import type { KeyDelivery } from '../delivery/key-delivery.ts';

/** A door that applications use, open: it decodes, calls the delivery, encodes. */
export interface FrontEnd {
  /** Addresses that it listens on, by listener name, for the ready line. */
  readonly listening: Readonly<Record<string, Address>>;
  /** Stops accepting, lets requests under way finish within the grace, then cuts. Never rejects. */
  stop(): Promise<void>;
}

/** Opens a door. @throws KeyweaveError BAD_CONFIG naming the setting that keeps it shut; nothing is left open then. */
export type StartFrontEnd = (context: ServiceContext, delivery: KeyDelivery) => Promise<FrontEnd>;
