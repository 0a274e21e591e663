import { uuidField } from '#common/config/fields.ts';
import { uuidText } from '#common/crypto/uuid.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { QkdSourceServiceImplementation } from '#gen/keyweave/v1/qkd_source.ts';
import type { QkdDriver } from './drivers/qkd-driver.ts';
import { StreamPositions } from './stream-positions.ts';

const MAX_COUNT = 16_384;
const MAX_KEY_BYTES = 65_536;
const MAX_TOTAL_BYTES = 2 * 1024 * 1024;

/** The gRPC face of qkd-source: checks the requests and keeps every stream in strict sequence. */
export function createQkdSourceService(driver: QkdDriver): QkdSourceServiceImplementation {
  const positions = new StreamPositions();

  return {
    openQkd: async (request, context) => {
      const { epoch, keyBytes } = request;
      const keyStreamId = uuidText('key_stream_id', request.keyStreamId);
      const sourceNode = nodeUuid('source_node', request.sourceNode);
      const destinationNode = nodeUuid('destination_node', request.destinationNode);
      assertKeyBytes(keyBytes);
      const stream = { keyStreamId, epoch, sourceNode, destinationNode };
      const qkdKeyStreamId = await driver.open(stream, keyBytes, request.qkdKeyStreamId, context.signal);
      positions.start({ keyStreamId, epoch, qkdKeyStreamId });
      return { qkdKeyStreamId };
    },

    fetchKeys: async (request, context) => {
      const { epoch, position, count, keyBytes, qkdKeyStreamId } = request;
      const keyStreamId = uuidText('key_stream_id', request.keyStreamId);
      assertKeyBytes(keyBytes);
      if (qkdKeyStreamId === '')
        throw new KeyweaveError('BAD_REQUEST', 'qkd_key_stream_id must not be empty');
      if (count < 1 || count > MAX_COUNT || count * keyBytes > MAX_TOTAL_BYTES) {
        throw new KeyweaveError('BAD_REQUEST', `${count} keys of ${keyBytes} bytes do not make a batch`);
      }
      return positions.reading({ keyStreamId, epoch, qkdKeyStreamId }, position, async () => {
        const keys = await driver.fetch(qkdKeyStreamId, position, count, keyBytes, context.signal);
        return { keys, read: BigInt(keys.length / keyBytes) };
      });
    },

    closeQkd: async (request, context) => {
      const { epoch, qkdKeyStreamId } = request;
      const keyStreamId = uuidText('key_stream_id', request.keyStreamId);
      positions.forget({ keyStreamId, epoch, qkdKeyStreamId });
      await driver.close(qkdKeyStreamId, context.signal);
      return {};
    },
  };
}

function assertKeyBytes(keyBytes: number): void {
  if (keyBytes < 1 || keyBytes > MAX_KEY_BYTES) {
    throw new KeyweaveError('BAD_REQUEST', `key_bytes must be 1 to ${MAX_KEY_BYTES}, not ${keyBytes}`);
  }
}

function nodeUuid(what: string, text: string): string {
  const parsed = uuidField.safeParse(text);
  if (!parsed.success) throw new KeyweaveError('BAD_REQUEST', `${what} must be the UUID of a node`);
  return parsed.data;
}
