import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import {
  type ClientUnaryCall,
  credentials,
  Client as GrpcClient,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { ownCopy, wipe } from '#common/crypto/bytes.ts';
import { Secret } from '#common/crypto/secret.ts';
import { isErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import type { Clock } from '#common/time/clock.ts';
import {
  GetKeysRequest,
  GetKeysResponse,
  KeyDeliveryCloseRequest,
  KeyDeliveryCloseResponse,
  OpenConnectRequest,
  OpenConnectResponse,
} from '#gen/keyweave/v1/key_delivery.ts';
import { type Call, failed, type KeyStreamError, plain, refused } from '../key-stream-error.ts';
import { faultOfQos, MAX_KEY_BYTES } from '../quality-of-service.ts';
import type { CallLimit, KeyAnswer, KeyWish, Line, OpenedAnswer, OpenWish, Transport } from './line.ts';
import { type ClientTls, type NodeAddress, placeOf, readTls } from './node-address.ts';

const SERVICE = '/keyweave.v1.KeyDelivery';

/** Trailer with the reason's name, beside the google.rpc.ErrorInfo that holds it too. */
const REASON_TRAILER = 'keyweave-reason';

/** For the handshake where the node is dialled by an IP address; what the certificate must carry is the address. */
const NO_NAME = 'keyweave.invalid';

/** Largest answer: one key with its metadata. */
const MAX_ANSWER_BYTES = 4 * MAX_KEY_BYTES;

const CHANNEL = {
  'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.enable_retries': 0,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.service_config_disable_resolution': 1,
} as const;

/** What grpc-js says where it had no connection to send a call over. */
const NEVER_SENT = /^(No connection established|Name resolution failed|No addresses resolved)/;

interface Method<I, O> {
  readonly call: Call;
  readonly name: string;
  readonly encode: (request: I) => Buffer;
  readonly decode: (bytes: Buffer) => O;
}

const OPEN: Method<OpenConnectRequest, OpenConnectResponse> = {
  ...{ call: 'OPEN_CONNECT', name: 'OpenConnect' },
  encode: (request) => Buffer.from(OpenConnectRequest.encode(request).finish()),
  decode: (bytes) => OpenConnectResponse.decode(bytes),
};

const GET_KEYS: Method<GetKeysRequest, GetKeysResponse> = {
  ...{ call: 'GET_KEY', name: 'GetKeys' },
  encode: (request) => Buffer.from(GetKeysRequest.encode(request).finish()),
  decode: (bytes) => {
    const { keys } = GetKeysResponse.decode(bytes);
    const own = keys.map(({ index, key, metadata }) => ({ index, key: ownCopy(key), metadata }));
    wipe(bytes);
    return { keys: own };
  },
};

const CLOSE: Method<KeyDeliveryCloseRequest, KeyDeliveryCloseResponse> = {
  ...{ call: 'CLOSE', name: 'Close' },
  encode: (request) => Buffer.from(KeyDeliveryCloseRequest.encode(request).finish()),
  decode: (bytes) => KeyDeliveryCloseResponse.decode(bytes),
};

/** The gRPC API of a node: one connection for all streams. */
export function grpcTransport(node: NodeAddress & { readonly tls: ClientTls }, clock: Clock): Transport {
  const channel = new GrpcCalls(node, clock);
  return { line: () => new GrpcLine(channel), end: () => channel.end() };
}

/** Unary calls over a channel that is made when a call needs it, and anew once it has failed, with the certificates of then. */
class GrpcCalls {
  readonly #node: NodeAddress & { readonly tls: ClientTls };
  readonly #clock: Clock;
  #client: GrpcClient | undefined;

  constructor(node: NodeAddress & { readonly tls: ClientTls }, clock: Clock) {
    this.#node = node;
    this.#clock = clock;
  }

  ask<I, O>(method: Method<I, O>, request: I, limit: CallLimit, ended: AbortSignal): Promise<O> {
    const { call, name, encode, decode } = method;
    const signal = limit.signal === undefined ? ended : AbortSignal.any([limit.signal, ended]);
    signal.throwIfAborted();
    this.#client ??= connect(call, this.#node);
    const client = this.#client;
    const limitMs = limit.connectMs + limit.answerMs;
    const deadline = this.#clock.wallMs() + limitMs;
    const { promise, resolve, reject } = Promise.withResolvers<O>();
    const done = (error: ServiceError | null, answer?: O) => {
      signal.removeEventListener('abort', abort);
      if (error === null) return resolve(answer as O);
      if (signal.aborted) return reject(signal.reason);
      reject(this.#failure(call, error, client, limitMs));
    };
    const calling: ClientUnaryCall = client.makeUnaryRequest(
      ...[`${SERVICE}/${name}`, encode, decode, request, { deadline }, done],
    );
    const abort = () => calling.cancel();
    signal.addEventListener('abort', abort, { once: true });
    return promise;
  }

  end(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  #failure(call: Call, error: ServiceError, client: GrpcClient, limitMs: number): KeyStreamError {
    const { code, details, metadata } = error;
    const [reason] = metadata?.get(REASON_TRAILER) ?? [];
    if (typeof reason === 'string' && isErrorReason(reason)) {
      const { etsi004, retryable } = STATUS_TABLE[reason];
      return refused(call, etsi004, details, { reason, retryable });
    }
    const at = placeOf(this.#node);
    const said = plain(details);
    switch (code) {
      case status.UNAVAILABLE: {
        this.#renew(client);
        if (NEVER_SENT.test(details))
          return failed('UNREACHABLE', call, `no node answers at ${at}: ${said}`, { cause: error });
        const message = `${call} at ${at} got no answer: ${said}`;
        return failed('CONNECTION_LOST', call, message, { cause: error, mayHaveActed: true });
      }
      case status.DEADLINE_EXCEEDED: {
        const message = `${call} at ${at} got no answer within ${limitMs / 1000} s`;
        return failed('NO_ANSWER', call, message, { mayHaveActed: true });
      }
      case status.PERMISSION_DENIED:
      case status.UNAUTHENTICATED:
        return refused(call, STATUS_TABLE.NOT_ALLOWED.etsi004, details, { reason: 'NOT_ALLOWED' });
      case status.CANCELLED:
        return failed('CONNECTION_LOST', call, `${call} at ${at} got no answer: ${said}`, {
          mayHaveActed: true,
        });
      default: {
        const message = `${call} at ${at} got no answer: ${status[code]}: ${said}`;
        return failed('WRONG_PROTOCOL', call, message, { mayHaveActed: true });
      }
    }
  }

  /** Another stream may have done so already. */
  #renew(client: GrpcClient): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    client.close();
  }
}

class GrpcLine implements Line {
  readonly #calls: GrpcCalls;
  readonly #ended = new AbortController();

  constructor(calls: GrpcCalls) {
    this.#calls = calls;
  }

  async open({ source, destination, qos, ksid = '' }: OpenWish, limit: CallLimit): Promise<OpenedAnswer> {
    const request = OpenConnectRequest.fromPartial({ source, destination, qos, keyStreamId: ksid });
    const answer = await this.#calls.ask(OPEN, request, limit, this.#ended.signal);
    const { keyStreamId, adjusted } = answer;
    const agreed = answer.qos ?? qos;
    if (keyStreamId === '') throw badAnswer('OPEN_CONNECT', 'no key_stream_id');
    const fault = faultOfQos(agreed);
    if (fault !== undefined) throw badAnswer('OPEN_CONNECT', fault);
    return { ksid: plain(keyStreamId), qos: agreed, adjusted: plain(adjusted) || undefined };
  }

  async getKey({ ksid, index, qos }: KeyWish, limit: CallLimit): Promise<KeyAnswer> {
    const request = GetKeysRequest.fromPartial({
      keyStreamId: ksid,
      maxKeys: 1,
      ...(index !== undefined && { index }),
    });
    const { keys } = await this.#calls.ask(GET_KEYS, request, limit, this.#ended.signal);
    const [only] = keys;
    if (keys.length !== 1 || only === undefined || only.key.length !== qos.keyChunkSize) {
      wipe(...keys.map(({ key }) => key));
      throw badAnswer('GET_KEY', `not one key of ${qos.keyChunkSize} bytes`);
    }
    return { index: only.index, key: new Secret(only.key as Buffer), metadata: only.metadata };
  }

  async close(ksid: string, limit: CallLimit): Promise<void> {
    await this.#calls.ask(CLOSE, { keyStreamId: ksid }, limit, this.#ended.signal);
  }

  end(): void {
    this.#ended.abort(failed('CLOSED', 'GET_KEY', 'the stream has been closed'));
  }
}

function connect(call: Call, node: NodeAddress & { readonly tls: ClientTls }): GrpcClient {
  const { host, port, tls } = node;
  const expected = tls.serverName ?? host;
  const name = isIP(expected) === 0 ? expected : NO_NAME;
  const { ca, cert, key } = readTls(call, tls);
  let secured: ReturnType<typeof credentials.createSsl>;
  try {
    secured = credentials.createSsl(ca, key as Buffer, cert as Buffer, {
      checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
        checkServerIdentity(expected, certificate),
    });
  } catch (thrown) {
    // No cause: what is wrong may be the key.
    throw failed('BAD_OPTIONS', call, `tls: the certificates cannot be used: ${plain(String(thrown))}`);
  }
  return new GrpcClient(`${isIP(host) === 6 ? `[${host}]` : host}:${port}`, secured, {
    ...CHANNEL,
    'grpc.ssl_target_name_override': name,
    'grpc.default_authority': name,
  });
}

function badAnswer(call: Call, what: string): KeyStreamError {
  return failed('BAD_ANSWER', call, `the answer to ${call} cannot be: ${what}`, { mayHaveActed: true });
}
