import { durationField } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { startKmeSimulator } from '../../kme-simulator/main.ts';
import { parseAddress, parseCount } from '../address.ts';

export interface KmeSimulatorFlags {
  readonly listen: string[];
  readonly control?: string;
  readonly rateBps?: string;
  readonly buffer: string;
  readonly poisson?: boolean;
  readonly outages?: string;
}

/** Runs simulated key managers until SIGTERM or SIGINT. */
export async function runKmeSimulator(flags: KmeSimulatorFlags): Promise<void> {
  const simulator = await startKmeSimulator({
    ends: flags.listen.map(parseAddress),
    ...(flags.control === undefined ? {} : { control: parseAddress(flags.control) }),
    ...(flags.rateBps === undefined ? {} : { rateBps: parseCount('--rate-bps', flags.rateBps) }),
    bufferBytes: parseCount('--buffer', flags.buffer),
    ...(flags.poisson ? { arrivals: 'poisson' } : {}),
    ...(flags.outages === undefined ? {} : { outages: parseOutages(flags.outages) }),
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => void simulator.stop().then(() => process.exit(0)));
  }
  process.stdout.write(
    `${JSON.stringify({ ready: true, simulator: true, listening: simulator.addresses, control: simulator.control })}\n`,
  );
}

/** `60s/10s`. @throws KeyweaveError BAD_REQUEST */
export function parseOutages(text: string): { everyMs: number; forMs: number } {
  const [every, long, ...rest] = text.split('/').map((part) => durationField('0s').safeParse(part));
  const [everyMs, forMs] = [every?.data, long?.data];
  if (everyMs === undefined || forMs === undefined || rest.length > 0 || forMs >= everyMs) {
    throw new KeyweaveError('BAD_REQUEST', `--outages must be like 60s/10s, the second shorter, not ${text}`);
  }
  return { everyMs, forMs };
}
