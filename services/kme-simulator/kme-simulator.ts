import type { TlsOptions } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { Etsi014Limits } from './dialects/etsi014-end.ts';
import type { FaultKind, Habit } from './faults.ts';

/** What the key managers speak, named as the drivers for it. */
export type KmeDialect = 'etsi004-json' | 'etsi004-binary' | 'etsi014';

export interface KmeSimulatorOptions {
  /** One address for each node's key manager, two or more; any two ends can share a stream. */
  ends: readonly Address[];
  /** What all of them speak; ETSI 004 as JSON by default. */
  dialect?: KmeDialect;
  /** ETSI 014: SAE ids of who calls, one for each of `ends`; required there. */
  saeIds?: readonly string[];
  /** ETSI 014: sizes and numbers of keys. */
  limits?: Partial<Etsi014Limits>;
  /** HTTP port for faults and counters; none by default. */
  control?: Address;
  /** Key rate in bit/s over all streams; without a limit by default. */
  rateBps?: number;
  /** Bytes of key that can be saved up while nobody asks; 1 MiB by default. */
  bufferBytes?: number;
  /** Whether key comes evenly, the default, or as single keys at random moments. */
  arrivals?: 'even' | 'poisson';
  /** The link stands still for `forMs` at the end of each `everyMs`. */
  outages?: { readonly everyMs: number; readonly forMs: number };
  /** Bytes of key that one end may be ahead of the other, over all streams; 64 MiB by default. */
  maxHeldBytes?: number;
  /** OPEN_CONNECT answers only when the other end has come too. */
  blocking?: boolean;
  /** What all the key managers always do, beside whatever fault is set. */
  habit?: Habit;
  /** How keys are written in JSON; a list of numbers by default. */
  keyFormat?: 'list' | 'base64' | 'hex';
  /** Serve TLS instead of plain TCP. */
  tls?: TlsOptions;
  /** Where the warning goes; stderr by default. */
  warn?: (text: string) => void;
}

export interface KmeSimulatorState {
  /** Open streams. */
  readonly streams: number;
  /** Their URIs, and which ends have not closed. */
  readonly openStreams: readonly string[];
  readonly keysMade: number;
  /** Bytes of key that one end has fetched and the other has not. */
  readonly heldBytes: number;
  readonly ends: readonly {
    /** Keys handed out by this end. */
    readonly delivered: number;
    /** Bytes of them. */
    readonly deliveredBytes: number;
    /** Connections accepted so far. */
    readonly connections: number;
    readonly fault: FaultKind | null;
  }[];
}

export interface KmeSimulator {
  /** With the ports that were bound, in the order of `ends`. */
  readonly addresses: readonly Address[];
  readonly control: Address | undefined;
  hasEnd(end: number): boolean;
  /** Makes an end misbehave, `times` times or until told otherwise; undefined heals. */
  setFault(end: number, kind: FaultKind | undefined, times?: number): void;
  /** From now on the link makes so much key, bit/s; 0 for none. */
  setRate(bps: number): void;
  /** Switches one end off: connections are cut, new ones refused; streams and keys stay. */
  stopEnd(end: number): Promise<void>;
  /** Switches one end on again, on the same port. */
  startEnd(end: number): Promise<void>;
  state(): KmeSimulatorState;
  stop(): Promise<void>;
}
