import { startKmeSimulator } from '../../kme-simulator/main.ts';
import { parseAddress, parseCount } from '../address.ts';

/** Runs simulated key managers until SIGTERM or SIGINT. */
export async function runKmeSimulator(options: {
  listen: string[];
  control?: string;
  rate?: string;
  buffer: string;
}): Promise<void> {
  const simulator = await startKmeSimulator({
    ends: options.listen.map(parseAddress),
    ...(options.control === undefined ? {} : { control: parseAddress(options.control) }),
    ...(options.rate === undefined ? {} : { rateBps: parseCount('--rate', options.rate) }),
    bufferBytes: parseCount('--buffer', options.buffer),
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => void simulator.stop().then(() => process.exit(0)));
  }
  process.stdout.write(
    `${JSON.stringify({ ready: true, simulator: true, listening: simulator.addresses, control: simulator.control })}\n`,
  );
}
