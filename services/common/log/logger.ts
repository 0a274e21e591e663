import { type DestinationStream, pino } from 'pino';
import type { LogType, NodeConfig } from '#common/config/node-config.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import { consoleColours } from '#common/log/console-colours.ts';
import type { Log, LogFields } from '#common/log/log.ts';
import { LogFile } from '#common/log/log-file.ts';
import { systemClock } from '#common/time/clock.ts';

export interface Logger extends Log {
  /** Opens the log file anew, after whoever rotates logs has moved it away. */
  reopen(): void;
  /** From now on lines carry the id that `find` gives, as `trace`; undefined is none. */
  inTrace(find: () => string | undefined): void;
}

type Level = Exclude<LogType, 'none'>;

/** The reference's levels, which stand in the JSON lines, too. */
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
  /** Whether the console can show colours; by default what stderr and the environment say. */
  colours?: boolean;
}

/**
 * Logs with the reference's five types to console (stderr, one line each, as
 * text or JSON) and to a file (JSON lines, appended; the services of a node
 * may share it).
 *
 * @throws KeyweaveError BAD_CONFIG when the log file cannot be opened.
 */
export function createLogger({
  service,
  config,
  console: write = writeToStderr,
  colours = consoleColours(process.stderr),
}: LoggerOptions): Logger {
  const consoleFloor = floorOf(config.console_log_type);
  const fileFloor = floorOf(config.file_log_type);
  const coloured = colours && !config.colorless_console_log;
  const toConsole =
    config.console_format === 'json'
      ? jsonLines(service, { write })
      : (level: Level, message: string, fields: LogFields) =>
          write(consoleLine(service, level, message, fields, coloured));
  const file =
    fileFloor === SILENT || config.filename === undefined
      ? undefined
      : new LogFile(config.filename, {
          onTrouble: (message, fields) => {
            if (SEVERITY.error >= consoleFloor) toConsole('error', message, fields);
          },
        });
  const toFile = file && jsonLines(service, file);

  let findTrace: (() => string | undefined) | undefined;
  const log = (level: Level, message: string, fields: LogFields = {}, cause?: unknown) => {
    const severity = SEVERITY[level];
    if (severity < consoleFloor && severity < fileFloor) return;
    const named = typeof fields.ksid === 'string' ? { ...fields, ksid: shortKsid(fields.ksid) } : fields;
    const trace = findTrace?.();
    const placed = trace === undefined ? named : { ...named, trace };
    const described = cause === undefined ? placed : { ...placed, cause: describe(cause) };
    if (severity >= consoleFloor) toConsole(level, message, described);
    if (severity >= fileFloor) toFile?.(level, message, described);
  };

  return {
    debug: (message, fields, cause) => log('debug', message, fields, cause),
    info: (message, fields, cause) => log('info', message, fields, cause),
    warning: (message, fields, cause) => log('warning', message, fields, cause),
    error: (message, fields, cause) => log('error', message, fields, cause),
    inTrace: (find) => {
      findTrace = find;
    },
    reopen: () => {
      if (file?.reopen()) log('info', 'the log file was opened anew');
    },
  };
}

function floorOf(type: LogType): number {
  return type === 'none' ? SILENT : SEVERITY[type];
}

/** One JSON object a line. */
function jsonLines(
  service: string,
  into: DestinationStream,
): (level: Level, message: string, fields: LogFields) => void {
  const lines = pino(
    {
      level: 'debug',
      customLevels: SEVERITY,
      useOnlyCustomLevels: true,
      base: { service },
      formatters: { level: (label) => ({ level: label }) },
      timestamp: () => `,"time":"${timeText()}"`,
    },
    into,
  );
  return (level, message, fields) => lines[level](withoutOwnNames(fields), message);
}

/** What every JSON line has; a second member of the name would hide it from whoever reads the line. */
const OWN_NAMES = ['level', 'time', 'service', 'msg'] as const;

function withoutOwnNames(fields: LogFields): LogFields {
  if (!OWN_NAMES.some((name) => name in fields)) return fields;
  const renamed = Object.entries(fields).map(([name, value]) => [
    OWN_NAMES.some((own) => own === name) ? `${name}_` : name,
    value,
  ]);
  return Object.fromEntries(renamed);
}

let stderrGuarded = false;

/** A console that is gone, with its terminal or whoever read the pipe, ends no service. */
function writeToStderr(line: string): void {
  if (!stderrGuarded) {
    stderrGuarded = true;
    process.stderr.on('error', () => undefined);
  }
  process.stderr.write(line);
}

function timeText(): string {
  return new Date(systemClock.wallMs()).toISOString();
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
  return `${timeText()} ${shown} [${service}] ${message}${pairs ? ` ${pairs}` : ''}\n`;
}
