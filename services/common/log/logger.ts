import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { type DestinationStream, destination, pino } from 'pino';
import type { LogType, NodeConfig } from '#common/config/node-config.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import type { Log, LogFields } from '#common/log/log.ts';
import { systemClock } from '#common/time/clock.ts';

export interface Logger extends Log {
  /** Writes what is buffered; call it before the process ends. */
  flush(): void;
}

type Level = Exclude<LogType, 'none'>;

/** Severity of the reference's levels; pino's names differ. */
const SEVERITY: Readonly<Record<Level, number>> = { debug: 20, info: 30, warning: 40, error: 50 };
const SILENT = Number.POSITIVE_INFINITY;

const COLOURS: Readonly<Record<Level, string>> = {
  debug: '\x1b[2m',
  info: '\x1b[32m',
  warning: '\x1b[33m',
  error: '\x1b[31m',
};

export interface LoggerOptions {
  service: string;
  config: NodeConfig['logging_config'];
  /** Where the console lines go; stderr by default. */
  console?: (line: string) => void;
}

/**
 * Logs with the reference's five types to console (stderr, one line each) and
 * to a file (JSON lines, appended; the services of a node may share it).
 */
export function createLogger({
  service,
  config,
  console: write = (line) => void process.stderr.write(line),
}: LoggerOptions): Logger {
  const consoleFloor = floorOf(config.console_log_type);
  const fileFloor = floorOf(config.file_log_type);
  const file = fileFloor === SILENT || config.filename === undefined ? undefined : openFile(config.filename);
  const fileLog =
    file &&
    pino({ level: 'debug', base: { service }, timestamp: pino.stdTimeFunctions.isoTime }, file.stream);

  const log = (level: Level, message: string, fields: LogFields = {}, cause?: unknown) => {
    const severity = SEVERITY[level];
    if (severity < consoleFloor && severity < fileFloor) return;
    const named = typeof fields.ksid === 'string' ? { ...fields, ksid: shortKsid(fields.ksid) } : fields;
    const described = cause === undefined ? named : { ...named, cause: describe(cause) };
    if (severity >= consoleFloor)
      write(consoleLine(service, level, message, described, !config.colorless_console_log));
    if (severity >= fileFloor) fileLog?.[level === 'warning' ? 'warn' : level](described, message);
  };

  return {
    debug: (message, fields, cause) => log('debug', message, fields, cause),
    info: (message, fields, cause) => log('info', message, fields, cause),
    warning: (message, fields, cause) => log('warning', message, fields, cause),
    error: (message, fields, cause) => log('error', message, fields, cause),
    flush: () => file?.flush(),
  };
}

function floorOf(type: LogType): number {
  return type === 'none' ? SILENT : SEVERITY[type];
}

function openFile(path: string): { stream: DestinationStream; flush: () => void } {
  mkdirSync(dirname(path), { recursive: true });
  // Synchronous: each line is one write of its own, so that several processes can append to one file.
  const stream = destination({ dest: path, append: true, sync: true });
  return { stream, flush: () => stream.flushSync() };
}

/**
 * Name, message and first stack line of an error and its causes: never the
 * fields that libraries hang on it, nor the message of a parser, which quotes
 * what it could not read.
 */
function describe(cause: unknown): string {
  const texts: string[] = [];
  for (let error = cause, depth = 0; error instanceof Error && depth < 4; error = error.cause, depth++) {
    const message = error.name === 'SyntaxError' ? '(quotes its input)' : error.message;
    const at =
      error.stack
        ?.replace(error.message, '')
        .split('\n')
        .find((line) => line.trimStart().startsWith('at '))
        ?.trim() ?? '';
    texts.push(`${error.name}: ${message} ${at}`.trimEnd());
  }
  return texts.length > 0 ? texts.join(' <- ') : typeof cause;
}

function consoleLine(
  service: string,
  level: Level,
  message: string,
  fields: LogFields,
  colours: boolean,
): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? JSON.stringify(value) : value}`)
    .join(' ');
  const label = level.toUpperCase().padEnd(7);
  const shown = colours ? `${COLOURS[level]}${label}\x1b[0m` : label;
  return `${new Date(systemClock.wallMs()).toISOString()} ${shown} [${service}] ${message}${pairs ? ` ${pairs}` : ''}\n`;
}
