import { existsSync, readFileSync } from 'node:fs';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { parseJson } from '#common/json/parse-json.ts';
import { HOME } from '#common/service/installation.ts';
import { systemClock } from '#common/time/clock.ts';
import { parseAddress, parseCount } from '../address.ts';
import { Etsi004Client, expectSuccess, fetchKey, type OpenData, openStream } from '../etsi004-client.ts';
import { fingerprint } from '../fingerprint.ts';
import { printTable } from '../table.ts';

const SHIPPED = `${HOME}deploy/requests/`;

interface CycleOptions {
  address: string;
  keys: string;
  showKey?: boolean;
}

interface CycleResult {
  ksid: string;
  keys: { index: number | undefined; fingerprint: string; key: string | undefined; ms: number }[];
}

/** One OPEN_CONNECT, GET_KEY, CLOSE cycle. */
export async function runDriver(requestPath: string, options: CycleOptions): Promise<void> {
  const result = await cycle(readRequest(requestPath), options);
  process.stdout.write(`OPEN_CONNECT: status 0, key_stream_id ${result.ksid}\n`);
  for (const { index, fingerprint: print, key, ms } of result.keys) {
    process.stdout.write(
      `GET_KEY: status 0, index ${index}, SHA-256 ${print}…, ${ms.toFixed(1)} ms${key ? `, key ${key}` : ''}\n`,
    );
  }
  process.stdout.write('CLOSE: status 0\n');
}

/** `n` cycles at once; fails if any does. */
export async function runBulkDriver(
  count: string,
  requestPath: string,
  options: CycleOptions,
): Promise<void> {
  const request = readRequest(requestPath);
  const cycles = Array.from({ length: parseCount('n', count) }, () => cycle(request, options));
  const results = await Promise.allSettled(cycles);
  printTable(
    ['cycle', 'key_stream_id', 'keys', 'outcome'],
    results.map((result, i) =>
      result.status === 'fulfilled'
        ? [i, result.value.ksid, result.value.keys.map((key) => key.fingerprint).join(' '), 'ok']
        : [i, '-', '-', KeyweaveError.from(result.reason).detail],
    ),
  );
  const failed = results.filter((result) => result.status === 'rejected').length;
  process.stdout.write(`${results.length - failed} of ${results.length} cycles succeeded\n`);
  if (failed > 0) process.exitCode = 1;
}

async function cycle(request: OpenData, options: CycleOptions): Promise<CycleResult> {
  const client = await Etsi004Client.connect(parseAddress(options.address));
  try {
    const { ksid, chunkBytes } = await openStream(client, request);
    const keys: CycleResult['keys'] = [];
    for (let i = 0; i < parseCount('--keys', options.keys); i++) {
      const started = systemClock.monotonicMs();
      const { key, index } = await fetchKey(client, ksid, chunkBytes);
      const ms = systemClock.monotonicMs() - started;
      keys.push({
        index,
        fingerprint: fingerprint(key),
        key: options.showKey ? key.toString('hex') : undefined,
        ms,
      });
      key.fill(0);
    }
    expectSuccess('CLOSE', await client.close(ksid));
    return { ksid, keys };
  } finally {
    client.disconnect();
  }
}

/** The request file, or the shipped one of that name. */
function readRequest(path: string): OpenData {
  const found = existsSync(path) ? path : `${SHIPPED}${path}`;
  let text: string;
  try {
    text = readFileSync(found, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new KeyweaveError('BAD_CONFIG', `${path}: cannot be read (${code})`, { cause });
  }
  const request = parseJson(text, path) as { command?: string; data?: OpenData } | null;
  if (request?.command === 'OPEN_CONNECT' && request.data) return request.data;
  throw new KeyweaveError('BAD_CONFIG', `${path}: is not an OPEN_CONNECT request`);
}
