import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import {
  type ClientOptions,
  credentials,
  Client as GrpcClient,
  type MethodDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { DESCRIPTORS } from '#gen/descriptors.ts';
import { parseAddress, parseCount } from '../address.ts';
import { EXIT } from '../ending/exit-codes.ts';
import { asJson, type Json, requestsIn } from './contract-json.ts';

/** Services whose methods may be named without them, the first that has one counts. */
const SERVICES = ['keyweave.v1.KeyDelivery', 'grpc.health.v1.Health'];

/** As grpcurl prints them: fields in lowerCamelCase, bytes in base64, enumerations by name. */
const JSON_FORM = { bytes: String, enums: String, longs: Number, defaults: true, arrays: true };

/** For the handshake where the node is dialled by an IP address; what the certificate must carry is the address. */
const NO_NAME = 'keyweave.invalid';

export interface CallOptions {
  address: string;
  ca: string;
  cert: string;
  key: string;
  serverName?: string;
  /** Seconds. */
  timeout: string;
}

type Method = MethodDefinition<Json, Json>;

/**
 * One call of the public gRPC API: prints each answer as a line of JSON. For a
 * method that takes several requests the text may hold several objects; keys
 * are printed as they come.
 *
 * @throws KeyweaveError BAD_REQUEST, BAD_CONFIG
 */
export async function runCall(name: string, text: string, options: CallOptions): Promise<void> {
  const method = methodNamed(name);
  const requests = requestsIn(text);
  if (requests.length !== 1 && !method.requestStream)
    throw new KeyweaveError('BAD_REQUEST', `${name} takes one request, not ${requests.length}`);
  const client = connect(options);
  try {
    await call(client, method, requests, parseCount('--timeout', options.timeout) * 1000);
  } catch (thrown) {
    const { code, details } = thrown as ServiceError;
    if (code === undefined) throw thrown;
    process.stderr.write(`keyweave: ${status[code]}: ${details}\n`);
    process.exitCode = code === status.UNAVAILABLE ? EXIT.UNREACHABLE : EXIT.REFUSED;
  } finally {
    client.close();
  }
}

/** `Method`, or `package.Service/Method`. */
function methodNamed(name: string): Method {
  const packages = loadFileDescriptorSetFromBuffer(Buffer.from(DESCRIPTORS, 'base64'), JSON_FORM);
  const [service, method] = name.includes('/') ? name.split('/') : [undefined, name];
  for (const each of service === undefined ? SERVICES : [service]) {
    const found = (packages[each] as Record<string, Method> | undefined)?.[method ?? ''];
    if (found?.path) return found;
  }
  const known = SERVICES.flatMap((each) => Object.keys(packages[each] ?? {}));
  throw new KeyweaveError('BAD_REQUEST', `no method ${JSON.stringify(name)}; there are ${known.join(', ')}`);
}

function connect({ address, ca, cert, key, serverName }: CallOptions): GrpcClient {
  const { host, port } = parseAddress(address);
  const expected = serverName ?? host;
  const channel: ClientOptions = {
    'grpc.ssl_target_name_override': isIP(expected) === 0 ? expected : NO_NAME,
    'grpc.default_authority': isIP(expected) === 0 ? expected : NO_NAME,
  };
  const secured = credentials.createSsl(read(ca), read(key), read(cert), {
    checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
      checkServerIdentity(expected, certificate),
  });
  return new GrpcClient(`${isIP(host) === 6 ? `[${host}]` : host}:${port}`, secured, channel);
}

function call(client: GrpcClient, method: Method, requests: readonly Json[], limitMs: number): Promise<void> {
  const { path, requestSerialize, responseDeserialize } = method;
  const deadline = systemClock.wallMs() + limitMs;
  return new Promise((resolve, reject) => {
    if (!method.requestStream && !method.responseStream) {
      const [request = {}] = requests;
      const done = (error: ServiceError | null, answer?: Json) => {
        if (error) return reject(error);
        print(answer);
        resolve();
      };
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, done);
      return;
    }
    // A method that takes one request and gives many is spoken to in the same way.
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, { deadline });
    stream.on('data', print);
    stream.on('error', reject);
    stream.on('end', resolve);
    for (const request of requests) stream.write(request);
    stream.end();
  });
}

function print(answer: unknown): void {
  process.stdout.write(`${JSON.stringify(asJson(answer))}\n`);
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new KeyweaveError('BAD_CONFIG', `${path}: cannot be read (${code})`, { cause });
  }
}
