import { uuidText } from '#common/crypto/uuid.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { QkdSourceServiceImplementation } from '#gen/keyweave/v1/qkd_source.ts';
import type { QkdDriver } from './drivers/qkd-driver.ts';
import { StreamPositions } from './stream-positions.ts';

const MAX_COUNT = 16_384;
const MAX_KEY_BYTES = 65_536;
const MAX_TOTAL_BYTES = 2 * 1024 * 1024;

/** The gRPC face of qkd-source. */
export function createQkdSourceService(driver: QkdDriver): QkdSourceServiceImplementation {
  const positions = new StreamPositions();

  return {
    openQkd: async (request, context) => {
      const keyStreamId = uuidText('key_stream_id', request.keyStreamId);
      assertKeyBytes(request.keyBytes);
      const { epoch, sourceNode, destinationNode } = request;
      const stream = { keyStreamId, epoch, sourceNode, destinationNode };
      const handle = await driver.open(stream, request.keyBytes, request.qkdKeyStreamId, context.signal);
      positions.start(keyStreamId, epoch);
      return { qkdKeyStreamId: handle };
    },

    fetchKeys: async (request, context) => {
      const keyStreamId = uuidText('key_stream_id', request.keyStreamId);
      const { epoch, position, count, keyBytes } = request;
      assertKeyBytes(keyBytes);
      if (count < 1 || count > MAX_COUNT || count * keyBytes > MAX_TOTAL_BYTES) {
        throw new KeyweaveError('BAD_REQUEST', `${count} keys of ${keyBytes} bytes do not make a batch`);
      }
      return positions.reading(keyStreamId, epoch, position, async () => {
        const keys = await driver.fetch(request.qkdKeyStreamId, position, count, keyBytes, context.signal);
        return { keys, read: BigInt(keys.length / keyBytes) };
      });
    },

    closeQkd: async (request, context) => {
      positions.forget(uuidText('key_stream_id', request.keyStreamId), request.epoch);
      await driver.close(request.qkdKeyStreamId, context.signal);
      return {};
    },
  };
}

function assertKeyBytes(keyBytes: number): void {
  if (keyBytes < 3 || keyBytes > MAX_KEY_BYTES) {
    throw new KeyweaveError('BAD_REQUEST', `key_bytes must be 3 to ${MAX_KEY_BYTES}, not ${keyBytes}`);
  }
}
