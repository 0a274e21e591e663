import { ETSI004_STATUS, STATUS_TABLE } from '#common/errors/status-table.ts';
import {
  ETSI004_MESSAGE,
  HEADER_BYTES,
  headed,
  QOS_BYTES,
  writeKsid,
  writeQos,
} from '#common/etsi/etsi004-binary-codec.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { type Delivered, MetadataTooSmallError } from '../../delivery/key-delivery.ts';
import type { Fault } from '../fault.ts';

const KSID_BYTES = 16;

/** Answer to OPEN_CONNECT: the stream is open, on the QoS in it; status 7 where that is not what was asked for. */
export function openAnswer(opened: { ksid: string; qos: Qos; isAdjusted: boolean }): Buffer {
  const answer = answerOf(
    ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE,
    opened.isAdjusted ? ETSI004_STATUS.QOS_NOT_MET : ETSI004_STATUS.SUCCESS,
    QOS_BYTES + KSID_BYTES,
  );
  writeKsid(answer, writeQos(answer, HEADER_BYTES + 4, opened.qos), opened.ksid);
  return answer;
}

/** Answer to GET_KEY; whoever sends it wipes it. */
export function keyAnswer({ index, key: secret, metadata }: Delivered): Buffer {
  const key = secret.expose();
  // All of it is written below.
  const answer = Buffer.allocUnsafe(HEADER_BYTES + 16 + key.length + metadata.length);
  headed(ETSI004_MESSAGE.GET_KEY_RESPONSE, answer);
  answer.writeUInt32BE(ETSI004_STATUS.SUCCESS, HEADER_BYTES);
  let at = answer.writeUInt32BE(index, HEADER_BYTES + 4);
  at = answer.writeUInt32BE(key.length, at);
  at += key.copy(answer, at);
  at = answer.writeUInt32BE(metadata.length, at);
  answer.write(metadata, at, 'latin1');
  return answer;
}

export function closeAnswer(): Buffer {
  return answerOf(ETSI004_MESSAGE.CLOSE_RESPONSE, ETSI004_STATUS.SUCCESS);
}

/**
 * A failure of the request of this type: its status alone, and where the
 * metadata does not fit how many bytes it has. Status 7 means a stream that is
 * open, so that what opened none is 4.
 */
export function errorAnswer(requestType: number, fault: Fault): Buffer {
  const { etsi004 } = STATUS_TABLE[fault.reason];
  const status = etsi004 === ETSI004_STATUS.QOS_NOT_MET ? ETSI004_STATUS.NO_QKD_CONNECTION : etsi004;
  if (fault instanceof MetadataTooSmallError) {
    const answer = answerOf(requestType + 1, status, 4);
    answer.writeUInt32BE(fault.neededBytes, HEADER_BYTES + 4);
    return answer;
  }
  return answerOf(requestType + 1, status);
}

/** A message with its status and room for so many bytes more, which are zero. */
function answerOf(type: number, status: number, moreBytes = 0): Buffer {
  const answer = headed(type, Buffer.alloc(HEADER_BYTES + 4 + moreBytes));
  answer.writeUInt32BE(status, HEADER_BYTES);
  return answer;
}
