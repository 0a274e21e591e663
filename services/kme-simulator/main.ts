import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { type ControlServer, startControlServer } from './control-server.ts';
import { binaryConversation } from './dialects/etsi004-binary.ts';
import { jsonConversation } from './dialects/etsi004-json.ts';
import { DEFAULT_LIMITS, Etsi014End } from './dialects/etsi014-end.ts';
import { SocketEnd } from './dialects/socket-end.ts';
import { Faults } from './faults.ts';
import { KeyDesk } from './key-desk.ts';
import { KeyPool } from './key-pool.ts';
import { KeySupply } from './key-supply.ts';
import type { KmeSimulator, KmeSimulatorOptions } from './kme-simulator.ts';
import { SimulatedLink } from './link.ts';

export type { KmeDialect, KmeSimulator, KmeSimulatorOptions, KmeSimulatorState } from './kme-simulator.ts';

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
  const { maxHeldBytes = 67_108_864 } = options;
  const link = new SimulatedLink({ supply, maxHeldBytes });
  const pool = new KeyPool({ supply, maxHeldBytes });
  const { blocking = false, habit, keyFormat = 'list', tls, dialect = 'etsi004-json', saeIds = [] } = options;
  if (dialect === 'etsi014' && saeIds.length !== options.ends.length) {
    throw new KeyweaveError('BAD_CONFIG', 'key managers that speak ETSI 014 need a SAE id for each end');
  }
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const ends = options.ends.map((_, end) => {
    const faults = new Faults();
    const desk = new KeyDesk({ link, end, blocking, faults });
    const converse = () =>
      dialect === 'etsi004-binary' ? binaryConversation(desk) : jsonConversation(desk, keyFormat);
    const server =
      dialect === 'etsi014'
        ? new Etsi014End({ end, desk, pool, faults, habit, tls, saeIds, limits })
        : new SocketEnd({ faults, habit, tls, converse });
    return { faults, desk, server };
  });
  const addresses: Address[] = [];
  let control: ControlServer | undefined;

  const stop = async () => {
    await control?.stop();
    await Promise.all(ends.map(({ server }) => server.stop()));
  };
  const simulator: KmeSimulator = {
    addresses,
    get control() {
      return control?.address;
    },
    hasEnd: (end) => ends[end] !== undefined,
    setFault: (end, kind, times) => ends[end]?.faults.set(kind, times),
    setRate: (bps) => supply.setRate(bps),
    stopEnd: async (end) => ends[end]?.server.stop(),
    startEnd: async (end) => {
      await ends[end]?.server.start(addresses[end] as Address);
    },
    state: () => ({
      streams: link.streams,
      openStreams: link.openStreams,
      keysMade: link.made + pool.made,
      heldBytes: link.heldBytes + pool.heldBytes,
      ends: ends.map(({ desk, server, faults }) => ({
        delivered: desk.delivered,
        deliveredBytes: desk.deliveredBytes,
        connections: server.connections,
        fault: faults.kind ?? null,
      })),
    }),
    stop,
  };
  try {
    for (const [i, end] of ends.entries()) addresses.push(await end.server.start(options.ends[i] as Address));
    if (options.control) control = await startControlServer(simulator, options.control);
  } catch (error) {
    await stop();
    throw error;
  }
  return simulator;
}
