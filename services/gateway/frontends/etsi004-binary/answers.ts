import { ETSI004_STATUS, STATUS_TABLE } from '#common/errors/status-table.ts';
import { writeDelivered, writeOpened, writeStatus } from '#common/etsi/etsi004-binary-answers.ts';
import { ETSI004_MESSAGE, HEADER_BYTES } from '#common/etsi/etsi004-binary-codec.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { type Delivered, MetadataTooSmallError } from '../../delivery/key-delivery.ts';
import type { Fault } from '../fault.ts';

/** Answer to OPEN_CONNECT: the stream is open, on the QoS in it; status 7 where that is not what was asked for. */
export function openAnswer(opened: { ksid: string; qos: Qos; isAdjusted: boolean }): Buffer {
  return writeOpened(opened);
}

/** Answer to GET_KEY; whoever sends it wipes it. */
export function keyAnswer({ index, key, metadata }: Delivered): Buffer {
  return writeDelivered({ index, key: key.expose(), metadata });
}

export function closeAnswer(): Buffer {
  return writeStatus(ETSI004_MESSAGE.CLOSE_RESPONSE, ETSI004_STATUS.SUCCESS);
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
    const answer = writeStatus(requestType + 1, status, 4);
    answer.writeUInt32BE(fault.neededBytes, HEADER_BYTES + 4);
    return answer;
  }
  return writeStatus(requestType + 1, status);
}
