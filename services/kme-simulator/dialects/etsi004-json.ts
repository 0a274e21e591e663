import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import { decodeJson, type JsonFrame, JsonFramer } from '#common/etsi/json-framer.ts';
import type { KeyDesk } from '../key-desk.ts';
import type { Conversation } from './socket-end.ts';

const MAX_REQUEST_BYTES = 65_536;

type Members = Record<string, unknown>;

const INVALID_JSON = { status: 'error', message: 'Invalid JSON received' };
const UNKNOWN_COMMAND = { status: 'error', message: 'Unknown command' };

/** How keys are written. */
export type KeyFormat = 'list' | 'base64' | 'hex';

/** ETSI 004 as JSON. Like the simplest of its kind it gives the next key, whatever the index says. */
export function jsonConversation(desk: KeyDesk, keyFormat: KeyFormat): Conversation {
  const framer = new JsonFramer({ maxBytes: MAX_REQUEST_BYTES });

  async function open(data: Members, gone: AbortSignal): Promise<Members> {
    const qos = membersOf(data.qos);
    const { source, destination } = data;
    if (typeof source !== 'string' || typeof destination !== 'string') {
      return { status: ETSI004_STATUS.NO_QKD_CONNECTION };
    }
    const { ksid, ...opened } = await desk.open({
      ...{ source, destination, gone },
      chunkBytes: Number(qos.key_chunk_size ?? 32),
      timeoutMs: Number(qos.timeout) || 0,
      ksid: typeof data.key_stream_id === 'string' ? data.key_stream_id : undefined,
    });
    if (ksid === undefined || !('chunkBytes' in opened)) return { status: opened.status };
    return { status: opened.status, key_stream_id: ksid, qos: { ...qos, key_chunk_size: opened.chunkBytes } };
  }

  function getKey(data: Members): Members {
    const { status, key } = desk.getKey(String(data.key_stream_id));
    if (!key) return { status };
    const key_buffer = keyFormat === 'list' ? [...key] : key.toString(keyFormat);
    return { status, key_buffer, index: data.index ?? 0 };
  }

  async function answerTo(frame: JsonFrame, gone: AbortSignal): Promise<Members> {
    let request: Members;
    try {
      if (!Buffer.isBuffer(frame)) return INVALID_JSON;
      request = membersOf(decodeJson(frame));
    } catch {
      return INVALID_JSON;
    }
    const data = membersOf(request.data);
    switch (request.command) {
      case 'OPEN_CONNECT':
        return open(data, gone);
      case 'GET_KEY':
        return getKey(data);
      case 'CLOSE':
        return { status: desk.close(String(data.key_stream_id)) };
      default:
        return UNKNOWN_COMMAND;
    }
  }

  return {
    push: (data) =>
      framer.push(data).map((frame) => ({
        isLast: !Buffer.isBuffer(frame) && frame.error === 'too-large',
        answer: async (gone) => Buffer.from(JSON.stringify(await answerTo(frame, gone))),
      })),
  };
}

function membersOf(json: unknown): Members {
  return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as Members) : {};
}
