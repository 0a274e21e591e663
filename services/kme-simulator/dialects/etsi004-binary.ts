import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import { writeDelivered, writeOpened, writeStatus } from '#common/etsi/etsi004-binary-answers.ts';
import {
  ETSI004_MESSAGE,
  MAX_OPEN_BYTES,
  NEXT_INDEX,
  readClose,
  readGetKey,
  readOpenConnect,
} from '#common/etsi/etsi004-binary-codec.ts';
import { type BinaryFrame, BinaryFramer } from '#common/etsi/etsi004-binary-framer.ts';
import type { KeyDesk } from '../key-desk.ts';
import type { Conversation, SocketRequest } from './socket-end.ts';

const METADATA = '{"age": 0, "hops": 0}';

/**
 * ETSI 004 in the binary protocol of ETSI's reference. Like that it gives the
 * key of the index, answers nothing to types that it does not know, and closes
 * the connection for what it cannot read.
 */
export function binaryConversation(desk: KeyDesk): Conversation {
  const framer = new BinaryFramer({ maxBytes: MAX_OPEN_BYTES });

  async function open(payload: Buffer, gone: AbortSignal): Promise<Buffer> {
    const { source, destination, qos, ksid } = readOpenConnect(payload);
    if (!isUri(source) || !isUri(destination)) {
      return writeStatus(ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE, ETSI004_STATUS.NO_QKD_CONNECTION);
    }
    const { keyChunkSize: chunkBytes, timeoutMs } = qos;
    const opened = await desk.open({ source, destination, chunkBytes, timeoutMs, ksid, gone });
    if (opened.ksid === undefined) {
      return writeStatus(ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE, opened.status);
    }
    const keyChunkSize = opened.chunkBytes;
    const isAdjusted = keyChunkSize !== chunkBytes;
    return writeOpened({ ksid: opened.ksid, qos: { ...qos, keyChunkSize }, isAdjusted });
  }

  function getKey(payload: Buffer): Buffer {
    const { ksid, index } = readGetKey(payload);
    const { status, key } = desk.getKey(ksid, index === NEXT_INDEX ? undefined : index);
    if (!key) return writeStatus(ETSI004_MESSAGE.GET_KEY_RESPONSE, status);
    return writeDelivered({ index, key, metadata: METADATA });
  }

  async function answerTo(type: number, payload: Buffer, gone: AbortSignal): Promise<Buffer> {
    if (type === ETSI004_MESSAGE.OPEN_CONNECT_REQUEST) return open(payload, gone);
    if (type === ETSI004_MESSAGE.GET_KEY_REQUEST) return getKey(payload);
    return writeStatus(ETSI004_MESSAGE.CLOSE_RESPONSE, desk.close(readClose(payload)));
  }

  function requestOf(frame: BinaryFrame): SocketRequest {
    if ('error' in frame) return { isLast: frame.error !== 'unknown-type', answer: async () => undefined };
    const { type } = frame;
    // The framer lends it until it is asked again.
    const payload = Buffer.from(frame.payload);
    return { isLast: false, answer: (gone) => answerTo(type, payload, gone) };
  }

  return {
    push: (data) => {
      const requests: SocketRequest[] = [];
      for (let at = 0; ; at = framer.end) {
        const frame = framer.next(data, at);
        if (!frame) return requests;
        requests.push(requestOf(frame));
      }
    },
  };
}

/** With a scheme and somebody behind it. */
function isUri(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/]/i.test(text);
}
