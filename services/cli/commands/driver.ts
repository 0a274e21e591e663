import { existsSync, readFileSync } from 'node:fs';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { failureText } from '#common/errors/system-error.ts';
import type { OpenData } from '#common/etsi/etsi004-json-codec.ts';
import { parseJson } from '#common/json/parse-json.ts';
import { HOME } from '#common/service/installation.ts';
import type { ClientTls } from '../../client/main.ts';
import { parseAddress, parseCount } from '../address.ts';
import { runBothEnds } from '../driver/both-ends.ts';
import { type CallReport, type CycleOptions, type CycleReport, runCycle } from '../driver/driver-cycle.ts';
import { RefusedCall } from '../driver/refused-call.ts';
import { exitCodeOf } from '../ending/exit-codes.ts';
import { onStopSignals, SIGNAL_STATUS } from '../ending/stop-signals.ts';
import { printTable } from '../table.ts';

const SHIPPED = `${HOME}deploy/requests/`;

/** The descriptor, which can be read where paths such as /dev/stdin cannot. */
const STDIN = 0;

/** More at once than a node serves connections by default. */
const MAX_CYCLES = 10_000;

type Settings = Omit<CycleOptions, 'signal' | 'onCall'>;

export interface DriverOptions {
  address: string;
  keys: string;
  showKey?: boolean;
  json?: boolean;
  ca?: string;
  cert?: string;
  key?: string;
  serverName?: string;
  /** Only the driver has it. */
  peerAddress?: string;
}

/** One OPEN_CONNECT, GET_KEY, CLOSE cycle; tells each answer as it comes. */
export async function runDriver(requestPath: string, options: DriverOptions): Promise<void> {
  const settings = readSettings(requestPath, options);
  if (options.peerAddress !== undefined)
    return driveBothEnds(settings, parseAddress(options.peerAddress), options);
  const report = await runCycle({
    ...settings,
    signal: interruption(),
    ...(!options.json && { onCall: (call: CallReport) => process.stdout.write(`${callInWords(call)}\n`) }),
  });
  if (options.json) process.stdout.write(`${JSON.stringify(asJson(report))}\n`);
  finish(report.error === undefined ? [] : [report.error], (error) => failureText(error));
}

/** The cycles of both applications at once, each at its node; fails if either does, or the keys are not the same. */
async function driveBothEnds(settings: Settings, peerAddress: Address, { json }: DriverOptions) {
  const { here, peer, error } = await runBothEnds({
    ...settings,
    peerAddress,
    signal: interruption(),
    ...(!json && {
      onCall: (end, call) => process.stdout.write(`${end === 'here' ? '' : 'peer: '}${callInWords(call)}\n`),
    }),
  });
  if (json) process.stdout.write(`${JSON.stringify({ here: asJson(here), peer: asJson(peer) })}\n`);
  else if (error === undefined) process.stdout.write('equal keys at both nodes\n');
  finish(error === undefined ? [] : [error], failureText);
}

/** `n` cycles at once; fails if any does, as the first that failed. */
export async function runBulkDriver(
  count: string,
  requestPath: string,
  options: DriverOptions,
): Promise<void> {
  const n = parseCount('n', count);
  if (n > MAX_CYCLES)
    throw new KeyweaveError('BAD_REQUEST', `n may be ${MAX_CYCLES} at most; start several for more`);
  const settings = readSettings(requestPath, options);
  const signal = interruption();
  const reports = await Promise.all(Array.from({ length: n }, () => runCycle({ ...settings, signal })));
  const errors = reports.map(({ error }) => error).filter((error) => error !== undefined);
  if (options.json) {
    for (const [cycle, report] of reports.entries())
      process.stdout.write(`${JSON.stringify({ cycle, ...asJson(report) })}\n`);
  } else {
    printTable(
      ['cycle', 'key_stream_id', 'keys', 'outcome'],
      reports.map(({ calls, error }, i) => [
        i,
        calls[0]?.key_stream_id ?? '-',
        calls.flatMap(({ sha256 }) => sha256 ?? []).join(' ') || '-',
        error === undefined ? outcomeOf(calls) : failureText(error),
      ]),
    );
    process.stdout.write(`${n - errors.length} of ${n} cycles succeeded\n`);
  }
  finish(errors, () => `${errors.length} of ${n} cycles failed`);
}

/** Ends with the exit code of the first error, which is said on stderr. */
function finish(errors: readonly unknown[], say: (error: unknown) => string): void {
  const [error] = errors;
  if (error === undefined) return;
  // An interruption has set its own.
  if (process.exitCode !== undefined) return;
  process.stderr.write(`keyweave: ${say(error)}\n`);
  process.exitCode = exitCodeOf(error);
}

/** Aborted by the first signal, with which the exit code is set; a second one ends the process where it stands. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  onStopSignals(['SIGINT', 'SIGTERM'], {
    first: (signal) => {
      process.stderr.write('keyweave: interrupted, closing what is open\n');
      process.exitCode = SIGNAL_STATUS[signal];
      controller.abort(new KeyweaveError('SHUTTING_DOWN', 'interrupted'));
    },
    again: (signal) => process.exit(SIGNAL_STATUS[signal]),
  });
  return controller.signal;
}

function callInWords({ call, status, ms, message, ...of }: CallReport): string {
  const parts = [`${call}: status ${status}`];
  if (call === 'OPEN_CONNECT' && of.key_stream_id) parts.push(`key_stream_id ${of.key_stream_id}`);
  if (of.sha256) parts.push(`index ${of.index}`, `SHA-256 ${of.sha256}…`, `${ms.toFixed(1)} ms`);
  if (of.key) parts.push(`key ${of.key}`);
  if (message) parts.push(message);
  return parts.join(', ');
}

/** `ok`, or the status of the OPEN_CONNECT that was met in part. */
function outcomeOf([opened]: readonly CallReport[]): string {
  return opened?.status === 0 ? 'ok' : `ok, OPEN_CONNECT with status ${opened?.status}: ${opened?.message}`;
}

function asJson({ calls, error }: CycleReport): object {
  if (error === undefined) return { ok: true, calls };
  const { call, status } = error instanceof RefusedCall ? error : {};
  return { ok: false, calls, error: { call, status, message: failureText(error) } };
}

/** Everything that can be wrong with the command line or the files is found before anything is opened. */
function readSettings(requestPath: string, options: DriverOptions): Settings {
  return {
    keys: parseCount('--keys', options.keys),
    address: parseAddress(options.address),
    tls: readTls(options),
    request: readRequest(requestPath),
    showKey: options.showKey ?? false,
  };
}

function readTls({ ca, cert, key, serverName }: DriverOptions): ClientTls | undefined {
  if (ca === undefined) {
    if (cert !== undefined || key !== undefined || serverName !== undefined)
      throw new KeyweaveError(
        'BAD_REQUEST',
        '--cert, --key and --server-name are for TLS: --ca is needed too',
      );
    return undefined;
  }
  if ((cert === undefined) !== (key === undefined))
    throw new KeyweaveError('BAD_REQUEST', '--cert and --key go together');
  return {
    ca: readNamed(ca),
    ...(cert !== undefined && key !== undefined && { cert: readNamed(cert), key: readNamed(key) }),
    ...(serverName !== undefined && { serverName }),
  };
}

/** The request file, the shipped one of that name, or `-` for what comes on stdin. */
function readRequest(path: string): OpenData {
  const found = path === '-' ? STDIN : existsSync(path) ? path : `${SHIPPED}${path}`;
  const text = readNamed(path, found).toString('utf8');
  const request = parseJson(text.replace(/^\uFEFF/, ''), path) as {
    command?: string;
    data?: OpenData;
  } | null;
  const { source, destination, qos } = request?.data ?? {};
  const whole =
    typeof source === 'string' && typeof destination === 'string' && typeof qos === 'object' && qos !== null;
  if (request?.command === 'OPEN_CONNECT' && request.data && whole) return request.data;
  throw new KeyweaveError(
    'BAD_CONFIG',
    `${path}: is not an OPEN_CONNECT request with source, destination and qos`,
  );
}

function readNamed(path: string, found: string | typeof STDIN = path): Buffer {
  try {
    return readFileSync(found);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new KeyweaveError('BAD_CONFIG', `${path}: cannot be read (${code})`, { cause });
  }
}
