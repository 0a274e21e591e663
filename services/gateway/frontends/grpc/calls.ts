import type { CallContext } from 'nice-grpc';
import type { NodeConfig } from '#common/config/node-config.ts';
import { callerOf } from '#common/grpc/callers.ts';
import { listenerLayer } from '#common/policy/policy-layers.ts';
import type { Key, KeyDeliveryServiceImplementation } from '#gen/keyweave/v1/key_delivery.ts';
import type { KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import type { Owner } from '../../streams/owner.ts';
import { algorithmsMessage, keyMessage, statusMessage } from './answers.ts';
import { KeyWatches } from './key-watches.ts';
import { readCount, readOpen, readPageSize } from './requests.ts';

/** Bytes of keys in one answer at most, well below the largest message. */
const MAX_KEY_BYTES = 2 * 1024 * 1024;

/** For a key that is wanted only if it is ready. */
const NOBODY_WAITS = AbortSignal.abort();

export interface KeyDeliveryServiceOptions {
  readonly delivery: KeyDelivery;
  readonly directory: StreamDirectory;
  readonly settings: Pick<
    NonNullable<NodeConfig['listeners']['grpc']>,
    'peer_presence' | 'default_method' | 'default_key_sources' | 'policy'
  >;
}

/** The public gRPC API over the delivery. */
export function createKeyDeliveryService({
  delivery,
  directory,
  settings,
}: KeyDeliveryServiceOptions): KeyDeliveryServiceImplementation {
  const watches = new KeyWatches(delivery, directory);
  return {
    async openConnect(request, context) {
      const opened = await delivery.open({
        ...readOpen(request),
        ...{ presence: settings.peer_presence, atOnce: true },
        defaults: { method: settings.default_method, keySources: settings.default_key_sources },
        policy: listenerLayer('grpc', settings.policy),
        ...{ owner: ownerOf(context), signal: context.signal },
      });
      return { keyStreamId: opened.ksid, qos: opened.qos, adjusted: opened.adjusted ?? '' };
    },

    async getKeys(request, context) {
      const count = readCount(request);
      const owner = ownerOf(context);
      const { keyStreamId: ksid, index } = request;
      const first = await delivery.getKey({
        ...{ ksid, index, owner, more: count - 1 },
        signal: context.signal,
      });
      const keys: Key[] = [keyMessage(first)];
      // No turn of the event loop lies between these and the answer: no key is lost on a client that goes away.
      const most = Math.min(count, Math.floor(MAX_KEY_BYTES / (keys[0] as Key).key.length));
      while (keys.length < most) {
        const next = readyKey(delivery, {
          ...{ ksid, owner },
          index: index === undefined ? undefined : index + keys.length,
        });
        if (next === undefined) break;
        keys.push(next);
      }
      return { keys };
    },

    watchKeys: (requests, context) => watches.watch(requests, ownerOf(context), context.signal),

    async close({ keyStreamId: ksid }, context) {
      delivery.close({ ksid, owner: ownerOf(context) });
      return {};
    },

    async getStatus({ keyStreamId: ksid }, context) {
      return { stream: statusMessage(directory.status({ ksid, owner: ownerOf(context) })) };
    },

    async listStreams(request, context) {
      const size = readPageSize(request);
      const rest = directory.streamsOf(ownerOf(context)).filter(({ ksid }) => ksid > request.pageToken);
      const streams = rest.slice(0, size);
      const isLast = streams.length === rest.length;
      return {
        streams: streams.map(statusMessage),
        nextPageToken: isLast ? '' : (streams.at(-1)?.ksid ?? ''),
      };
    },

    listAlgorithms: async () => algorithmsMessage(await directory.unavailableKems()),
  };
}

/** A key that can be had at once; undefined where none can. */
function readyKey(
  delivery: Pick<KeyDelivery, 'getKey'>,
  request: { ksid: string; owner: Owner; index: number | undefined },
): Key | undefined {
  try {
    const delivered = delivery.getKey({ ...request, signal: NOBODY_WAITS });
    if (!(delivered instanceof Promise)) return keyMessage(delivered);
    // It waits for nothing: the signal has fired.
    delivered.catch(() => undefined);
    return undefined;
  } catch {
    return undefined;
  }
}

/** The application that calls, by its certificate. */
function ownerOf({ metadata, peer }: CallContext): Owner {
  return { identity: callerOf(metadata), address: peer };
}
