import { readFileSync } from 'node:fs';
import type { TlsOptions } from 'node:tls';
import { readIssuingCa } from '#certs/ca-key.ts';
import { issueServiceCertificate } from '#certs/issue.ts';
import { type Address, durationField } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type KmeDialect, startKmeSimulator } from '../../kme-simulator/main.ts';
import { parseAddress, parseCount } from '../address.ts';

/** The key managers are no node. */
const NOBODY = '00000000-0000-4000-8000-000000000000';

export interface KmeSimulatorFlags {
  readonly listen: string[];
  readonly dialect: KmeDialect;
  readonly tls?: string;
  readonly sae?: string[];
  readonly control?: string;
  readonly rateBps?: string;
  readonly buffer: string;
  readonly poisson?: boolean;
  readonly outages?: string;
}

/** Runs simulated key managers until SIGTERM or SIGINT. */
export async function runKmeSimulator(flags: KmeSimulatorFlags): Promise<void> {
  const ends = flags.listen.map(parseAddress);
  const simulator = await startKmeSimulator({
    ends,
    dialect: flags.dialect,
    ...(flags.sae === undefined ? {} : { saeIds: flags.sae }),
    ...(flags.tls === undefined ? {} : { tls: await mutualTls(flags.tls, ends) }),
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

/** One certificate for all the key managers, good for as long as anybody simulates. @throws KeyweaveError BAD_CONFIG */
async function mutualTls(caPath: string, ends: readonly Address[]): Promise<TlsOptions> {
  const { certificate: cert, key } = await issueServiceCertificate({
    ca: readIssuingCa(caPath),
    ...{ network: 'simulated', nodeUuid: NOBODY, service: 'kme', days: 30 },
    names: [...new Set(ends.map(({ host }) => host))],
  });
  return { cert, key, ca: readFileSync(caPath), requestCert: true, rejectUnauthorized: true };
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
