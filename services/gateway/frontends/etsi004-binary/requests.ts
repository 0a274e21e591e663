import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  ETSI004_MESSAGE,
  NEXT_INDEX,
  readClose,
  readGetKey,
  readOpenConnect,
} from '#common/etsi/etsi004-binary-codec.ts';
import type { BinaryFrame } from '#common/etsi/etsi004-binary-framer.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';

export type BinaryRequest =
  | {
      command: 'OPEN_CONNECT';
      source: string;
      destination: string;
      qos: Qos;
      ksid: string | undefined;
    }
  | { command: 'GET_KEY'; ksid: string; index: number | undefined; metadataRoom: number }
  | { command: 'CLOSE'; ksid: string };

/** What a message asks for. @throws KeyweaveError BAD_REQUEST naming the offending field. */
export function parseBinaryRequest(frame: BinaryFrame): BinaryRequest {
  const { type } = frame;
  if (!('payload' in frame)) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `no message of type ${type} has a payload of ${frame.bytes} bytes`,
    );
  }
  switch (type) {
    case ETSI004_MESSAGE.OPEN_CONNECT_REQUEST:
      return { command: 'OPEN_CONNECT', ...readOpenConnect(frame.payload) };
    case ETSI004_MESSAGE.GET_KEY_REQUEST: {
      const { ksid, index, metadataRoom } = readGetKey(frame.payload);
      return { command: 'GET_KEY', ksid, index: index === NEXT_INDEX ? undefined : index, metadataRoom };
    }
    default:
      return { command: 'CLOSE', ksid: readClose(frame.payload) };
  }
}
