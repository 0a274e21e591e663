import { type Random, systemRandom } from '#common/crypto/random.ts';
import { type Clock, LONGEST_TIMER_MS, systemClock } from '#common/time/clock.ts';
import type { CallOptions, KeyStream, StreamHandle } from './key-stream.ts';
import { failed, type KeyStreamError, plain } from './key-stream-error.ts';
import { type CallTimes, limitOf, NodeStream } from './node-stream.ts';
import { type Persistence, persist, type RetryOptions } from './persistence.ts';
import { DEFAULT_QOS, faultOfQos, type QualityOfService } from './quality-of-service.ts';
import { binaryTransport } from './transports/binary-line.ts';
import { jsonTransport } from './transports/json-line.ts';
import type { Line, Transport } from './transports/line.ts';
import type { ClientTls } from './transports/node-address.ts';

/** The API of the node that is spoken: each a listener of its own. */
export type TransportName = 'json' | 'binary' | 'grpc';

const PORTS: Readonly<Record<TransportName, number>> = { json: 65_430, binary: 25_575, grpc: 50_051 };

export interface ClientOptions {
  /** json by default. */
  readonly transport?: TransportName;
  /** Name or IP address of the node's listener. */
  readonly host: string;
  /** By default 65430 (json), 25575 (binary), 50051 (grpc). */
  readonly port?: number;
  /** Absent: plain TCP, which no listener of gRPC has. */
  readonly tls?: ClientTls | undefined;
  readonly limits?: {
    /** For a connection, TLS and all, milliseconds; 10 s by default. */
    readonly connectMs?: number;
    /** For an answer, beyond what the node may wait (`qos.timeoutMs`), milliseconds; 5 s by default. */
    readonly marginMs?: number;
  };
  /** Where the connection fails; false: not at all. */
  readonly retry?: RetryOptions | false;
}

export interface OpenOptions extends CallOptions {
  /** URIs of the two applications, the same at both ends. */
  readonly source: string;
  readonly destination: string;
  /** What is left out is left to the nodes, but for keys of 32 bytes with JSON metadata and a timeout of 10 s. */
  readonly qos?: Partial<QualityOfService>;
  /** UUID of the stream to join, or of a new one; absent: the nodes make one, or join the other application's. */
  readonly ksid?: string | undefined;
}

/** An application's side of one node. */
export interface KeyStreamClient extends Disposable {
  /**
   * OPEN_CONNECT. Over JSON it waits for the other application; over binary
   * and gRPC the first `next()` does.
   *
   * @throws KeyStreamError
   */
  open(options: OpenOptions): Promise<KeyStream>;

  /** Goes on with a stream that this application has opened, without a call. @throws KeyStreamError BAD_OPTIONS */
  resume(handle: StreamHandle): KeyStream;

  /** Ends the connections. Streams that have not been closed stay open at the node. */
  end(): void;
}

/** What a client is made with beside its options. */
export interface Surroundings {
  readonly clock: Clock;
  readonly random: Pick<Random, 'bytes'>;
}

const THIS_MACHINE: Surroundings = { clock: systemClock, random: systemRandom };

/** A client of a node. Nothing is connected before it is needed. @throws KeyStreamError BAD_OPTIONS */
export async function createClient(
  options: ClientOptions,
  surroundings: Surroundings = THIS_MACHINE,
): Promise<KeyStreamClient> {
  const { connectMs = 10_000, marginMs = 5_000 } = options.limits ?? {};
  const times = { connectMs: duration('connectMs', connectMs), marginMs: duration('marginMs', marginMs) };
  const persistence = { ...surroundings, ...retryOf(options.retry) };
  return new NodeClient(await transportOf(options, surroundings.clock), times, persistence);
}

class NodeClient implements KeyStreamClient {
  readonly #transport: Transport;
  readonly #times: CallTimes;
  readonly #persistence: Persistence;
  readonly #streams = new Set<KeyStream>();
  #isEnded = false;

  constructor(transport: Transport, times: CallTimes, persistence: Persistence) {
    this.#transport = transport;
    this.#times = times;
    this.#persistence = persistence;
  }

  async open({ source, destination, qos: asked, ksid, signal }: OpenOptions): Promise<KeyStream> {
    const qos = checkedQos(asked);
    const line = this.#line();
    const limit = limitOf(this.#times, qos, signal);
    try {
      const opened = await persist(
        this.#persistence,
        () => line.open({ source, destination, qos, ksid }, limit),
        // Once it was asked, a second request could make a second stream, which the other end does not know.
        ({ retryable, status, mayHaveActed }) =>
          retryable && status === undefined && !mayHaveActed ? this.#persistence.forMs : 0,
        signal,
      );
      return this.#stream(line, { ...opened, position: 0 });
    } catch (thrown) {
      line.end();
      throw thrown;
    }
  }

  resume({ ksid, qos, position }: StreamHandle): KeyStream {
    const agreed = checkedQos(qos);
    if (typeof ksid !== 'string' || ksid === '') throw badOptions('ksid must be that of a stream');
    if (!Number.isInteger(position) || position < 0)
      throw badOptions('position must be a whole number, 0 at least');
    return this.#stream(this.#line(), { ksid, qos: agreed, position, adjusted: undefined });
  }

  end(): void {
    this.#isEnded = true;
    for (const stream of this.#streams) stream.detach();
    this.#transport.end();
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #line(): Line {
    if (this.#isEnded) throw failed('CLOSED', 'OPEN_CONNECT', 'the client has been ended');
    return this.#transport.line();
  }

  #stream(line: Line, opened: StreamHandle & { readonly adjusted: string | undefined }): KeyStream {
    const stream: KeyStream = new NodeStream({
      ...{ ...opened, line, times: this.#times, persistence: this.#persistence },
      onEnd: () => this.#streams.delete(stream),
    });
    this.#streams.add(stream);
    // Ended while the stream was being opened.
    if (this.#isEnded) stream.detach();
    return stream;
  }
}

async function transportOf(options: ClientOptions, clock: Clock): Promise<Transport> {
  const { transport = 'json', host, tls } = options;
  if (!Object.hasOwn(PORTS, transport))
    throw badOptions(`there is no transport ${plain(String(transport))}: json, binary and grpc are there`);
  const { port = PORTS[transport] } = options;
  if (typeof host !== 'string' || host === '') throw badOptions('host must be a name or an IP address');
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw badOptions('port must be 1 to 65535');
  if (tls !== undefined && (tls.cert === undefined) !== (tls.key === undefined))
    throw badOptions('tls.cert and tls.key go together');
  if (transport === 'json') return jsonTransport({ host, port, tls }, clock);
  if (transport === 'binary') return binaryTransport({ host, port, tls }, clock);
  if (tls === undefined) throw badOptions('gRPC needs tls: its listener speaks nothing else');
  const { grpcTransport } = await loadGrpc();
  return grpcTransport({ host, port, tls }, clock);
}

/** Who speaks another protocol need not have the packages that gRPC takes. */
async function loadGrpc(): Promise<typeof import('./transports/grpc-line.ts')> {
  try {
    return await import('./transports/grpc-line.ts');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    const remedy = 'npm install @grpc/grpc-js @bufbuild/protobuf';
    throw failed('BAD_OPTIONS', 'OPEN_CONNECT', `a package is missing for gRPC: ${remedy}`, { cause });
  }
}

function checkedQos(asked: Partial<QualityOfService> | undefined): QualityOfService {
  const given = Object.entries(asked ?? {}).filter(([, value]) => value !== undefined);
  const qos = { ...DEFAULT_QOS, ...Object.fromEntries(given) };
  const fault = faultOfQos(qos);
  if (fault !== undefined) throw badOptions(`qos.${fault}`);
  return qos;
}

function retryOf(retry: RetryOptions | false = {}): Required<RetryOptions> {
  if (retry === false) return { forMs: 0, firstPauseMs: 0, longestPauseMs: 0 };
  const { forMs = 30_000, firstPauseMs = 100, longestPauseMs = 5_000 } = retry;
  return {
    forMs: duration('retry.forMs', forMs),
    firstPauseMs: duration('retry.firstPauseMs', firstPauseMs),
    longestPauseMs: duration('retry.longestPauseMs', longestPauseMs),
  };
}

function duration(name: string, ms: number): number {
  if (typeof ms === 'number' && ms >= 0 && ms <= LONGEST_TIMER_MS) return ms;
  throw badOptions(`${name} must be milliseconds from 0 to ${LONGEST_TIMER_MS}`);
}

function badOptions(what: string): KeyStreamError {
  return failed('BAD_OPTIONS', 'OPEN_CONNECT', what);
}
