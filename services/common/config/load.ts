import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { type NodeConfig, nodeConfigSchema } from '#common/config/node-config.ts';
import { type TrustedPeers, trustedPeersSchema } from '#common/config/trusted-peers.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { parseJson } from '#common/json/parse-json.ts';

export interface NodeFiles {
  readonly config: NodeConfig;
  readonly peers: TrustedPeers;
}

/**
 * Reads a node's two files. What is wrong in them is told by place, never by
 * quoting the text: there are secrets in it.
 *
 * @throws KeyweaveError BAD_CONFIG naming the file and every offending key.
 */
export function loadNodeFiles(configPath: string, peersPath: string): NodeFiles {
  return { config: loadConfig(configPath), peers: loadPeers(peersPath) };
}

/** Reads trusted_peers_info.json alone. @throws KeyweaveError BAD_CONFIG */
export function loadPeers(path: string): TrustedPeers {
  return deepFreeze(parseFile(path, trustedPeersSchema));
}

/** Reads config.json alone. @throws KeyweaveError BAD_CONFIG */
export function loadConfig(path: string): NodeConfig {
  const config = parseFile(path, nodeConfigSchema);
  if (config.logging_config.file_log_type !== 'none' && config.logging_config.filename === undefined) {
    throw badConfig(path, ['logging_config.filename: required unless file_log_type is none']);
  }
  return deepFreeze(config);
}

function parseFile<S extends z.ZodType>(path: string, schema: S): z.infer<S> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new KeyweaveError(
      'BAD_CONFIG',
      `${path}: cannot be read (${(cause as NodeJS.ErrnoException).code})`,
      {
        cause,
      },
    );
  }
  const result = schema.safeParse(parseJson(text, path));
  if (!result.success) throw badConfig(path, result.error.issues.flatMap(describeIssue));
  return result.data;
}

function describeIssue(issue: z.core.$ZodIssue): string[] {
  const at = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${at ? `${at}.${key}` : key}: unknown key`);
  }
  return [`${at || 'the file'}: ${issue.message}`];
}

function badConfig(path: string, problems: string[]): KeyweaveError {
  return new KeyweaveError('BAD_CONFIG', `${path}: ${problems.join('; ')}`);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
