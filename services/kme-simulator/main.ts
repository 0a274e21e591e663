import type { Address } from '#common/config/fields.ts';
import { startControlServer } from './control-server.ts';
import { SimulatedEnd } from './etsi004-json-server.ts';
import type { FaultKind } from './faults.ts';
import { SimulatedLink } from './link.ts';

export interface KmeSimulatorOptions {
  /** One address for each node's key manager; any two ends can share a stream. */
  ends: readonly Address[];
  control?: Address;
  /** Key rate in bit/s; without a limit by default. */
  rateBps?: number;
  /** Bytes of key that can be saved up while nobody asks. */
  bufferBytes?: number;
  blocking?: boolean;
  perCall?: boolean;
  keyFormat?: 'list' | 'base64' | 'hex';
  /** Where the warning goes; stderr by default. */
  warn?: (text: string) => void;
}

export interface KmeSimulator {
  readonly addresses: readonly Address[];
  readonly control: Address | undefined;
  hasEnd(end: number): boolean;
  /** Makes an end misbehave, `times` times or until told otherwise; undefined heals. */
  setFault(end: number, kind: FaultKind | undefined, times?: number): void;
  stopEnd(end: number): Promise<void>;
  startEnd(end: number): Promise<void>;
  state(): { streams: number; keysMade: number; ends: { delivered: number; fault: FaultKind | null }[] };
  stop(): Promise<void>;
}

const WARNING =
  'KME SIMULATOR: these keys come from no quantum link and are NOT SECRET. For demonstrations and tests only.';

/** Starts a network of simulated key managers that gives both ends of a stream equal keys. */
export async function startKmeSimulator(options: KmeSimulatorOptions): Promise<KmeSimulator> {
  const warn = options.warn ?? ((text: string) => process.stderr.write(`${text}\n`));
  warn(`*** ${WARNING} ***`);
  const link = new SimulatedLink({
    rateBps: options.rateBps ?? Number.POSITIVE_INFINITY,
    bufferBytes: options.bufferBytes ?? 1_048_576,
    now: Date.now,
  });
  const ends = options.ends.map(
    (_, end) =>
      new SimulatedEnd({
        link,
        end,
        blocking: options.blocking ?? false,
        perCall: options.perCall ?? false,
        keyFormat: options.keyFormat ?? 'list',
      }),
  );
  const addresses: Address[] = [];
  for (const [i, end] of ends.entries()) addresses.push(await end.start(options.ends[i] as Address));

  const simulator: KmeSimulator & { control: Address | undefined } = {
    addresses,
    control: undefined,
    hasEnd: (end) => ends[end] !== undefined,
    setFault: (end, kind, times) => ends[end]?.faults.set(kind, times),
    stopEnd: async (end) => ends[end]?.stop(),
    startEnd: async (end) => {
      await ends[end]?.start(addresses[end] as Address);
    },
    state: () => ({
      streams: link.streams,
      keysMade: link.made,
      ends: ends.map((end) => ({ delivered: end.delivered, fault: end.faults.kind ?? null })),
    }),
    stop: async () => {
      await control?.stop();
      await Promise.all(ends.map((end) => end.stop()));
    },
  };
  const control = options.control ? await startControlServer(simulator, options.control) : undefined;
  simulator.control = control?.address;
  return simulator;
}
