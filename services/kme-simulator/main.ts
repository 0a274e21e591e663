import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { type ControlServer, startControlServer } from './control-server.ts';
import { SimulatedEnd } from './etsi004-json-server.ts';
import { KeySupply } from './key-supply.ts';
import type { KmeSimulator, KmeSimulatorOptions, KmeSimulatorState } from './kme-simulator.ts';
import { SimulatedLink } from './link.ts';

export type { KmeSimulator, KmeSimulatorOptions, KmeSimulatorState };

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
  const supply = new KeySupply({
    rateBps: options.rateBps ?? Number.POSITIVE_INFINITY,
    bufferBytes: options.bufferBytes ?? 1_048_576,
    arrivals: options.arrivals ?? 'even',
    outages: options.outages,
    now: systemClock.monotonicMs,
  });
  const link = new SimulatedLink({
    supply,
    maxHeldBytes: options.maxHeldBytes ?? 67_108_864,
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
    setRate: (bps) => supply.setRate(bps),
    stopEnd: async (end) => ends[end]?.stop(),
    startEnd: async (end) => {
      await ends[end]?.start(addresses[end] as Address);
    },
    state: () => ({
      streams: link.streams,
      openStreams: link.openStreams,
      keysMade: link.made,
      heldBytes: link.heldBytes,
      ends: ends.map(({ delivered, deliveredBytes, connections, faults }) => ({
        delivered,
        deliveredBytes,
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
