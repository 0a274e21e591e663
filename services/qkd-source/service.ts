import { uuidField } from '#common/config/fields.ts';
import { uuidText } from '#common/crypto/uuid.ts';
import { failureOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { QkdFetch, QkdSourceServiceImplementation } from '#gen/keyweave/v1/qkd_source.ts';
import type { QkdDriver } from './drivers/qkd-driver.ts';
import { StreamPositions } from './stream-positions.ts';

const MAX_COUNT = MESSAGE_LIMITS.qkdKeys.taken;
const MAX_KEY_BYTES = 65_536;
const MAX_TOTAL_BYTES = MESSAGE_LIMITS.qkdBytes.taken;
const MAX_FETCHES = MESSAGE_LIMITS.qkdFetches.taken;
const NO_KEYS = Buffer.alloc(0);

/** The gRPC face of qkd-source: checks the requests and keeps every stream in strict sequence. */
export function createQkdSourceService(driver: QkdDriver): QkdSourceServiceImplementation {
  const positions = new StreamPositions();

  async function fetchOne(fetch: QkdFetch, signal: AbortSignal): Promise<Buffer> {
    const { epoch, position, count, keyBytes, qkdKeyStreamId } = fetch;
    const keyStreamId = uuidText('key_stream_id', fetch.keyStreamId);
    assertKeyBytes(keyBytes);
    if (qkdKeyStreamId === '') throw new KeyweaveError('BAD_REQUEST', 'qkd_key_stream_id must not be empty');
    if (count < 1 || count > MAX_COUNT) {
      throw new KeyweaveError('BAD_REQUEST', `count must be 1 to ${MAX_COUNT}, not ${count}`);
    }
    const { keys } = await positions.reading({ keyStreamId, epoch, qkdKeyStreamId }, position, async () => {
      const read = await driver.fetch(qkdKeyStreamId, position, count, keyBytes, signal);
      return { keys: read, read: BigInt(read.length / keyBytes) };
    });
    return keys;
  }

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

    fetchKeys: async ({ fetches }, context) => {
      assertFetches(fetches);
      const settled = await Promise.allSettled(fetches.map((one) => fetchOne(one, context.signal)));
      return {
        results: settled.map((result) =>
          result.status === 'fulfilled'
            ? { keys: result.value, failure: undefined }
            : { keys: NO_KEYS, failure: failureOf(result.reason) },
        ),
      };
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

function assertFetches(fetches: readonly QkdFetch[]): void {
  const bytes = fetches.reduce((sum, { count, keyBytes }) => sum + count * keyBytes, 0);
  if (fetches.length > MAX_FETCHES || bytes > MAX_TOTAL_BYTES) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `one call reads at most ${MAX_FETCHES} streams and ${MAX_TOTAL_BYTES} bytes`,
    );
  }
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
