import { z } from 'zod';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { qosOfJson } from '#common/etsi/etsi004-json-codec.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';

const u32 = z.int().min(0).max(0xffffffff);

/** Every member may be left out: the key manager then chooses (ETSI GS QKD 004 V2.1.1, Table 2). */
const qosSchema = z.object({
  key_chunk_size: u32.default(0),
  max_bps: u32.default(0),
  min_bps: u32.default(0),
  jitter: u32.default(0),
  priority: u32.default(0),
  timeout: u32.default(0),
  ttl: u32.default(0),
  metadata_mimetype: z.string().max(256).default('application/json'),
});

const openSchema = z.object({
  source: z.string(),
  destination: z.string(),
  qos: qosSchema.prefault({}),
  key_stream_id: z.string().nullish(),
});

export type JsonRequest =
  | {
      command: 'OPEN_CONNECT';
      source: string;
      destination: string;
      qos: Qos;
      ksid: string | undefined;
    }
  | { command: 'GET_KEY'; ksid: string; index: number | undefined; metadataRoom: number | undefined }
  | { command: 'CLOSE'; ksid: string };

type Json = Record<string, unknown>;

/**
 * Reads one request of the reference's JSON dialect. Members that it does not
 * know are ignored.
 *
 * @throws KeyweaveError BAD_REQUEST naming the offending member.
 */
export function parseJsonRequest(json: unknown): JsonRequest {
  if (!isObject(json))
    throw new KeyweaveError('BAD_REQUEST', 'Invalid JSON received: a request is a JSON object');
  const { command } = json;
  if (command !== 'OPEN_CONNECT' && command !== 'GET_KEY' && command !== 'CLOSE') {
    throw new KeyweaveError('BAD_REQUEST', 'Unknown command: OPEN_CONNECT, GET_KEY and CLOSE are known');
  }
  const { data } = json;
  if (!isObject(data)) throw fault(command, 'data must be an object');
  switch (command) {
    case 'OPEN_CONNECT':
      return parseOpen(data);
    case 'GET_KEY':
      return parseGetKey(data);
    case 'CLOSE':
      return { command, ksid: stringMember(command, data, 'key_stream_id') };
  }
}

function parseOpen(data: Json): JsonRequest {
  const result = openSchema.safeParse(data);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw fault('OPEN_CONNECT', `data.${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'cannot be read'}`);
  }
  const { source, destination, qos, key_stream_id } = result.data;
  return {
    command: 'OPEN_CONNECT',
    source,
    destination,
    ksid: key_stream_id ?? undefined,
    qos: qosOfJson(qos),
  };
}

/** By hand rather than by schema: this is the way of every key. */
function parseGetKey(data: Json): JsonRequest {
  const ksid = stringMember('GET_KEY', data, 'key_stream_id');
  const { index, metadata } = data;
  if (index !== undefined && index !== null && !isU32(index)) {
    throw fault('GET_KEY', 'data.index must be a whole number from 0 to 4294967295');
  }
  let metadataRoom: number | undefined;
  if (metadata !== undefined && metadata !== null) {
    if (!isObject(metadata) || !isU32(metadata.size)) {
      throw fault('GET_KEY', 'data.metadata.size must be a whole number from 0 to 4294967295');
    }
    metadataRoom = metadata.size;
  }
  // 0 means "the next one" in this dialect, as absent does.
  return { command: 'GET_KEY', ksid, index: index ? (index as number) : undefined, metadataRoom };
}

function stringMember(command: string, data: Json, name: string): string {
  const value = data[name];
  if (typeof value !== 'string') throw fault(command, `data.${name} must be a string`);
  return value;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isU32(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}

function fault(command: string, what: string): KeyweaveError {
  return new KeyweaveError('BAD_REQUEST', `Fatal error during ${command}. ${what}`);
}
