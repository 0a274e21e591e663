import type { TlsOptions } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { type ControlServer, startControlServer } from './control-server.ts';
import { SimulatedEnd } from './etsi004-json-server.ts';
import type { FaultKind, Habit } from './faults.ts';
import { SimulatedLink } from './link.ts';

export interface KmeSimulatorOptions {
  /** One address for each node's key manager, two or more; any two ends can share a stream. */
  ends: readonly Address[];
  /** HTTP port for faults and counters; none by default. */
  control?: Address;
  /** Key rate in bit/s over all streams; without a limit by default. */
  rateBps?: number;
  /** Bytes of key that can be saved up while nobody asks; 1 MiB by default. */
  bufferBytes?: number;
  /** Bytes of key that one end may be ahead of the other, over all streams; 64 MiB by default. */
  maxHeldBytes?: number;
  /** OPEN_CONNECT answers only when the other end has come too. */
  blocking?: boolean;
  /** What all the key managers always do, beside whatever fault is set. */
  habit?: Habit;
  /** How keys are written; a list of numbers by default. */
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
  /** Switches one end off: connections are cut, new ones refused; streams and keys stay. */
  stopEnd(end: number): Promise<void>;
  /** Switches one end on again, on the same port. */
  startEnd(end: number): Promise<void>;
  state(): KmeSimulatorState;
  stop(): Promise<void>;
}

const WARNING =
  'KME SIMULATOR: these keys come from no quantum link and are NOT SECRET. For demonstrations and tests only.';

/**
 * Starts a network of simulated key managers that gives both ends of a stream equal keys.
 *
 * @throws KeyweaveError BAD_CONFIG for fewer than two ends or an address that cannot be bound.
 */
export async function startKmeSimulator(options: KmeSimulatorOptions): Promise<KmeSimulator> {
  if (options.ends.length < 2) {
    throw new KeyweaveError('BAD_CONFIG', 'a simulated network needs the addresses of two ends or more');
  }
  const warn = options.warn ?? ((text: string) => process.stderr.write(`${text}\n`));
  warn(`*** ${WARNING} ***`);
  const link = new SimulatedLink({
    rateBps: options.rateBps ?? Number.POSITIVE_INFINITY,
    bufferBytes: options.bufferBytes ?? 1_048_576,
    maxHeldBytes: options.maxHeldBytes ?? 67_108_864,
    now: systemClock.monotonicMs,
  });
  const { blocking = false, habit, keyFormat = 'list', tls } = options;
  const ends = options.ends.map((_, end) => new SimulatedEnd({ link, end, blocking, habit, keyFormat, tls }));
  const addresses: Address[] = [];
  let control: ControlServer | undefined;

  const stop = async () => {
    await control?.stop();
    await Promise.all(ends.map((end) => end.stop()));
  };
  const simulator: KmeSimulator = {
    addresses,
    get control() {
      return control?.address;
    },
    hasEnd: (end) => ends[end] !== undefined,
    setFault: (end, kind, times) => ends[end]?.faults.set(kind, times),
    stopEnd: async (end) => ends[end]?.stop(),
    startEnd: async (end) => {
      await ends[end]?.start(addresses[end] as Address);
    },
    state: () => ({
      streams: link.streams,
      openStreams: link.openStreams,
      keysMade: link.made,
      heldBytes: link.heldBytes,
      ends: ends.map(({ delivered, connections, faults }) => ({
        delivered,
        connections,
        fault: faults.kind ?? null,
      })),
    }),
    stop,
  };
  try {
    for (const [i, end] of ends.entries()) addresses.push(await end.start(options.ends[i] as Address));
    if (options.control) control = await startControlServer(simulator, options.control);
  } catch (error) {
    await stop();
    throw error;
  }
  return simulator;
}
