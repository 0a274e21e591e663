import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import type { Fault } from '#common/config/fields.ts';
import { type NodeConfig, nodeConfigSchema } from '#common/config/node-config.ts';
import { configFaults, peersFaults, repeatedPeers } from '#common/config/rules.ts';
import { type TrustedPeers, trustedPeersSchema } from '#common/config/trusted-peers.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type JsonPlaces, jsonPlaces } from '#common/json/json-places.ts';
import { parseJson } from '#common/json/parse-json.ts';

export interface NodeFiles {
  readonly config: NodeConfig;
  readonly peers: TrustedPeers;
}

/** One of a node's files as it was found. */
export interface ReadFile<T> {
  readonly file: string;
  /** Undefined where the text does not make one. */
  readonly value: T | undefined;
  /** All that is wrong, each in words with file, key and line, and without quoting the text: there are secrets in it. */
  readonly problems: readonly string[];
  /** The same words for what others find wrong with the file. */
  tell(fault: Fault): string;
}

/**
 * Reads a node's two files. What is wrong in them is told by place, never by
 * quoting the text: there are secrets in it.
 *
 * @throws KeyweaveError BAD_CONFIG naming the files and every offending key, a line each.
 */
export function loadNodeFiles(configPath: string, peersPath: string): NodeFiles {
  const { config, peers } = readNodeFiles(configPath, peersPath);
  assertSound([...config.problems, ...peers.problems]);
  return { config: config.value as NodeConfig, peers: peers.value as TrustedPeers };
}

/** Reads trusted_peers_info.json, beside the config.json that it goes with. @throws KeyweaveError BAD_CONFIG */
export function loadPeers(path: string, config?: NodeConfig): TrustedPeers {
  const { value, problems } = readPeers(path, config);
  assertSound(problems);
  return value as TrustedPeers;
}

/** Reads config.json alone. @throws KeyweaveError BAD_CONFIG */
export function loadConfig(path: string): NodeConfig {
  const { value, problems } = readConfig(path);
  assertSound(problems);
  return value as NodeConfig;
}

/** Reads both files and judges what their texts say, whatever is wrong with them. */
export function readNodeFiles(
  configPath: string,
  peersPath: string,
): { config: ReadFile<NodeConfig>; peers: ReadFile<TrustedPeers> } {
  const config = readConfig(configPath);
  return { config, peers: readPeers(peersPath, config.value) };
}

/** @throws KeyweaveError BAD_CONFIG of all the problems, a line each. */
export function assertSound(problems: readonly string[]): void {
  if (problems.length > 0) throw new KeyweaveError('BAD_CONFIG', problems.join('\n'));
}

function readConfig(path: string): ReadFile<NodeConfig> {
  return readFile(path, nodeConfigSchema, { written: () => [], meant: configFaults });
}

function readPeers(path: string, config: NodeConfig | undefined): ReadFile<TrustedPeers> {
  return readFile(path, trustedPeersSchema, {
    written: (json) => repeatedPeers(Object.keys(json)),
    meant: (value) => peersFaults(value, config),
  });
}

interface Rules<T> {
  /** What is wrong with the JSON before the schema changes it. */
  written(json: object): Fault[];
  /** What is wrong with what the schema takes. */
  meant(value: T): Fault[];
}

function readFile<S extends z.ZodType>(
  file: string,
  schema: S,
  rules: Rules<z.infer<S>>,
): ReadFile<z.infer<S>> {
  let places: JsonPlaces | undefined;
  const tell = ({ path, message }: Fault) => {
    const line = places === undefined ? '' : ` (line ${places.lineOf(path)})`;
    return `${file}: ${path.map(String).join('.') || 'the file'}: ${message}${line}`;
  };
  const bad = (problems: readonly string[]) => ({ file, value: undefined, problems, tell });

  let text: string;
  try {
    // Editors of some systems begin a file with a mark of its byte order.
    text = readFileSync(file, 'utf8').replace(/^\uFEFF/, '');
  } catch (cause) {
    return bad([`${file}: cannot be read (${(cause as NodeJS.ErrnoException).code})`]);
  }
  let json: unknown;
  try {
    json = parseJson(text, file);
  } catch (error) {
    return bad([KeyweaveError.from(error).detail]);
  }
  places = jsonPlaces(text);
  const faults = places.duplicates.map(({ path, lines }) => ({
    path,
    message: `stands ${lines.length} times, first in line ${lines[0]}`,
  }));
  if (typeof json === 'object' && json !== null) faults.push(...rules.written(json).map(withPath));
  const { data, error } = schema.safeParse(withoutSchema(json));
  if (error) {
    faults.push(...error.issues.flatMap(faultsOf).map(withPath));
    return bad(faults.map(tell));
  }
  faults.push(...rules.meant(data).map(withPath));
  return { file, value: deepFreeze(data), problems: faults.map(tell), tell };
}

function withPath({ path, message }: Fault): { path: string[]; message: string } {
  return { path: path.map(String), message };
}

/** `$schema` is for the editor that the file is written with. */
function withoutSchema(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json;
  const { $schema, ...rest } = json as { $schema?: unknown };
  return typeof $schema === 'string' ? rest : json;
}

function faultsOf(issue: z.core.$ZodIssue): Fault[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({ path: [...issue.path, key], message: 'unknown key' }));
  // What is wrong with the key of a record is in issues of its own.
  const [inner] = issue.code === 'invalid_key' ? issue.issues : [];
  return [{ path: issue.path, message: inner?.message ?? issue.message }];
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
