import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { CompatServiceDefinition } from 'nice-grpc';

/** Messages are laid out here before they are cut to size; larger ones get a buffer of their own. */
const SCRATCH_BYTES = 1024 * 1024;

let scratch: Uint8Array | undefined;

interface MessageType {
  encode(message: unknown, writer?: BinaryWriter): BinaryWriter;
  decode(bytes: Uint8Array): unknown;
  fromPartial?(partial: unknown): unknown;
}

interface GeneratedDefinition {
  readonly fullName: string;
  readonly methods: Readonly<Record<string, GeneratedMethod>>;
}

interface GeneratedMethod {
  readonly name: string;
  readonly requestType: MessageType;
  readonly requestStream: boolean;
  readonly responseType: MessageType;
  readonly responseStream: boolean;
}

/**
 * A generated service with encoders that copy each message once. Batches are
 * large, and what would be copied on the way to the socket (as the writer
 * grows, when it is cut, and into a Buffer) costs more in garbage collection
 * than the batch costs to make.
 */
export function leanDefinition(definition: CompatServiceDefinition): CompatServiceDefinition {
  if (!('methods' in definition)) return definition;
  const { fullName, methods } = definition as unknown as GeneratedDefinition;
  return Object.fromEntries(
    Object.entries(methods).map(([key, method]) => [
      key,
      {
        path: `/${fullName}/${method.name}`,
        requestStream: method.requestStream,
        responseStream: method.responseStream,
        requestSerialize: (value: unknown) => encode(method.requestType, value),
        requestDeserialize: (bytes: Uint8Array) => method.requestType.decode(bytes),
        responseSerialize: (value: unknown) => encode(method.responseType, value),
        responseDeserialize: (bytes: Uint8Array) => method.responseType.decode(bytes),
        options: {},
      },
    ]),
  ) as unknown as CompatServiceDefinition;
}

/**
 * What nice-grpc can make a Buffer of without a copy: it calls Buffer.from,
 * which copies a Uint8Array and only wraps an ArrayBuffer.
 */
export function uncopied(bytes: Uint8Array): Uint8Array {
  const { buffer, byteLength } = bytes;
  return buffer.byteLength === byteLength ? (buffer as unknown as Uint8Array) : bytes;
}

/** What `uncopied` and encoders give, as bytes again; no copy either. */
export function bytesOf(encoded: Uint8Array | ArrayBuffer): Uint8Array {
  return encoded instanceof Uint8Array ? encoded : new Uint8Array(encoded);
}

function encode(type: MessageType, value: unknown): Uint8Array {
  scratch ??= new Uint8Array(SCRATCH_BYTES);
  const writer = new BinaryWriter();
  const inner = writer as unknown as { buffer: Uint8Array; pos: number };
  inner.buffer = scratch;
  let used = SCRATCH_BYTES;
  try {
    type.encode(type.fromPartial ? type.fromPartial(value) : value, writer);
    used = inner.pos;
    return uncopied(writer.finish());
  } finally {
    // What was laid out may hold secrets.
    scratch.fill(0, 0, Math.min(used, SCRATCH_BYTES));
    if (inner.buffer !== scratch) inner.buffer.fill(0);
  }
}
