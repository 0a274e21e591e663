import { MAX_KEY_NAME_BYTES } from '#common/catalogue/qkd-keys.ts';
import { uuidField } from '#common/config/fields.ts';
import { wipe } from '#common/crypto/bytes.ts';
import { failureOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { uuidText } from '#common/ids/uuid.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Log } from '#common/log/log.ts';
import type { QkdFetch, QkdSourceServiceImplementation } from '#gen/keyweave/v1/qkd_source.ts';
import { MAX_HANDLE_CHARS, type QkdDriver } from './drivers/qkd-driver.ts';
import { GivenKeys, type KeyFault } from './given-keys.ts';
import { Openings } from './openings.ts';
import { nameOf, type StreamKey, StreamPositions } from './stream-positions.ts';

const MAX_COUNT = MESSAGE_LIMITS.qkdKeys.taken;
const MAX_KEY_BYTES = 65_536;
const MAX_TOTAL_BYTES = MESSAGE_LIMITS.qkdBytes.taken;
const MAX_FETCHES = MESSAGE_LIMITS.qkdFetches.taken;
const NO_KEYS = Buffer.alloc(0);

const FAULTS: Record<KeyFault, string> = {
  repeated: 'gave a key that it had given before',
  zero: 'gave a key of zeros',
};

/** Keys that a stream is to be read for. */
interface Wanted {
  readonly stream: StreamKey;
  readonly position: bigint;
  readonly count: number;
  readonly keyBytes: number;
}

export interface QkdSourceOptions {
  readonly driver: QkdDriver;
  readonly nodeUuid: string;
  readonly log: Log;
}

/**
 * The gRPC face of qkd-source: checks the requests, keeps every stream in
 * strict sequence, and gives no secret twice.
 */
export function createQkdSourceService(options: QkdSourceOptions): QkdSourceServiceImplementation {
  const { driver, nodeUuid, log } = options;
  const positions = new StreamPositions();
  const openings = new Openings();
  const given = new GivenKeys();
  let faults = 0;

  /** Wipes keys that no sound key manager gives, and throws. */
  function assertSound(stream: StreamKey, position: bigint, keys: Buffer, keyBytes: number): void {
    const fault = given.faultOf(nameOf(stream), keys, keyBytes);
    if (!fault) return;
    wipe(keys);
    faults += 1;
    const { keyStreamId: ksid, epoch } = stream;
    log.error(`the key manager ${FAULTS[fault]}`, { ksid, epoch, position: String(position), faults });
    throw new KeyweaveError('SOURCE_FAULT', `the key manager of node ${nodeUuid} ${FAULTS[fault]}`);
  }

  /** The next keys of a stream, or the new ones that its key manager names. */
  async function readNext({ stream, position, count, keyBytes }: Wanted, signal: AbortSignal) {
    const handle = stream.qkdKeyStreamId;
    let names: readonly Buffer[] = [];
    const { keys } = await positions.reading(stream, position, async () => {
      const read = driver.named
        ? await driver.named.take(handle, count, keyBytes, signal)
        : { keys: await driver.fetch(handle, position, count, keyBytes, signal), names };
      assertSound(stream, position, read.keys, keyBytes);
      names = read.names;
      return { keys: read.keys, read: BigInt(read.keys.length / keyBytes) };
    });
    return { keys, names };
  }

  /** The keys that the other end has named. */
  async function readNamed(
    { stream, position, keyBytes }: Wanted,
    names: readonly Uint8Array[],
    signal: AbortSignal,
  ) {
    if (!driver.named) {
      throw new KeyweaveError('QKD_UNAVAILABLE', `the key manager of node ${nodeUuid} finds no keys by name`);
    }
    const keys = await driver.named.find(stream.qkdKeyStreamId, names, keyBytes, signal);
    assertSound(stream, position, keys, keyBytes);
    return { keys, names: [] };
  }

  async function fetchOne(fetch: QkdFetch, signal: AbortSignal) {
    const { epoch, position, count, keyBytes, qkdKeyStreamId, keyNames } = fetch;
    const keyStreamId = uuidText('key_stream_id', fetch.keyStreamId);
    assertKeyBytes(keyBytes);
    if (qkdKeyStreamId === '') throw new KeyweaveError('BAD_REQUEST', 'qkd_key_stream_id must not be empty');
    assertHandle(qkdKeyStreamId);
    if (count < 1 || count > MAX_COUNT) {
      throw new KeyweaveError('BAD_REQUEST', `count must be 1 to ${MAX_COUNT}, not ${count}`);
    }
    const wanted = { stream: { keyStreamId, epoch, qkdKeyStreamId }, position, count, keyBytes };
    if (keyNames.length === 0) return readNext(wanted, signal);
    assertNames(keyNames, count);
    return readNamed(wanted, keyNames, signal);
  }

  return {
    openQkd: async (request, context) => {
      const { epoch, keyBytes } = request;
      const keyStreamId = uuidText('key_stream_id', request.keyStreamId);
      const sourceNode = uuidOfNode('source_node', request.sourceNode);
      const destinationNode = uuidOfNode('destination_node', request.destinationNode);
      assertKeyBytes(keyBytes);
      assertHandle(request.qkdKeyStreamId);
      const stream = { keyStreamId, epoch, sourceNode, destinationNode };
      void driver.learn(stream);
      const qkdKeyStreamId = await openings.run(stream, context.signal, async (signal) => {
        const handle = await driver.open(stream, keyBytes, request.qkdKeyStreamId, signal);
        if (!signal.aborted) return handle;
        // Nobody will hear of it.
        void driver.close(handle, new AbortController().signal);
        throw signal.reason;
      });
      positions.start({ keyStreamId, epoch, qkdKeyStreamId });
      return { qkdKeyStreamId };
    },

    fetchKeys: async ({ fetches }, context) => {
      assertFetches(fetches);
      void driver.learn();
      const settled = await Promise.allSettled(fetches.map((one) => fetchOne(one, context.signal)));
      return {
        results: settled.map((result) =>
          result.status === 'fulfilled'
            ? { keys: result.value.keys, failure: undefined, keyNames: [...result.value.names] }
            : { keys: NO_KEYS, failure: failureOf(result.reason), keyNames: [] },
        ),
        blockBytes: driver.blockBytes,
      };
    },

    closeQkd: async (request, context) => {
      const { epoch, qkdKeyStreamId } = request;
      const keyStreamId = uuidText('key_stream_id', request.keyStreamId);
      assertHandle(qkdKeyStreamId);
      const stream = { keyStreamId, epoch, qkdKeyStreamId };
      positions.forget(stream);
      given.forget(nameOf(stream));
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

/** One for each key. */
function assertNames(names: readonly Uint8Array[], count: number): void {
  if (names.length !== count) {
    throw new KeyweaveError('BAD_REQUEST', `key_names must be ${count}, not ${names.length}`);
  }
  if (names.some(({ length }) => length < 1 || length > MAX_KEY_NAME_BYTES)) {
    throw new KeyweaveError('BAD_REQUEST', `each of key_names must have 1 to ${MAX_KEY_NAME_BYTES} bytes`);
  }
}

function assertKeyBytes(keyBytes: number): void {
  if (keyBytes < 1 || keyBytes > MAX_KEY_BYTES) {
    throw new KeyweaveError('BAD_REQUEST', `key_bytes must be 1 to ${MAX_KEY_BYTES}, not ${keyBytes}`);
  }
}

function assertHandle(qkdKeyStreamId: string): void {
  if (qkdKeyStreamId.length > MAX_HANDLE_CHARS) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `qkd_key_stream_id must not exceed ${MAX_HANDLE_CHARS} characters`,
    );
  }
}

function uuidOfNode(what: string, text: string): string {
  const parsed = uuidField.safeParse(text);
  if (!parsed.success) throw new KeyweaveError('BAD_REQUEST', `${what} must be the UUID of a node`);
  return parsed.data;
}
