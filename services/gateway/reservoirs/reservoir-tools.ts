import type { QkdTools } from '../clients/qkd-sequence.ts';

/** What every reservoir of a gateway leans on. */
export interface ReservoirTools extends QkdTools {
  /** How both ends meet at the key managers (`qkd.join`). */
  readonly join: 'auto' | 'ksid' | 'uris';
  /** QKD keys of one block at most (`qkd.block_keys`). */
  readonly maxBlockKeys: number;
  /** Keys that one reservoir holds at most (`qkd.reservoir.max_keys`). */
  readonly maxKeys: number;
}
