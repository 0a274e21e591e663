import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** A span as it came over OTLP. */
export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty where it begins its trace. */
  readonly parentId: string;
  readonly name: string;
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  /** Of the process that it is of. */
  readonly resource: Readonly<Record<string, string | number | boolean>>;
  /** Ids of the spans that it is linked to. */
  readonly links: readonly string[];
}

/** A stand-in for an OpenTelemetry collector: OTLP over HTTP in protobuf (opentelemetry-proto 1.x). */
export interface Collector {
  readonly endpoint: string;
  readonly spans: readonly CollectedSpan[];
  /** Bodies as they came, by path. */
  readonly bodies: readonly { path: string; body: Buffer }[];
  close(): Promise<void>;
}

/** @param tls serves https with it. */
export async function startCollector(tls?: ServerOptions): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const bodies: { path: string; body: Buffer }[] = [];
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const path = request.url ?? '';
    bodies.push({ path, body });
    if (path === '/v1/traces') spans.push(...spansIn(body));
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  };
  const server = tls ? createTlsServer(tls, take) : createServer(take);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    spans,
    bodies,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/** Fields of a message by number. */
type Fields = ReadonlyMap<number, readonly (Uint8Array | bigint)[]>;

function fieldsIn(bytes: Uint8Array): Fields {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, (Uint8Array | bigint)[]>();
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    const values = fields.get(number) ?? [];
    fields.set(number, values);
    if (type === WireType.LengthDelimited) values.push(reader.bytes());
    else if (type === WireType.Varint) values.push(BigInt(reader.uint64()));
    else if (type === WireType.Bit64) values.push(BigInt(reader.fixed64()));
    else reader.skip(type, number);
  }
  return fields;
}

const inner = (fields: Fields, number: number): Fields[] =>
  (fields.get(number) ?? []).map((bytes) => fieldsIn(bytes as Uint8Array));
const bytesOf = (fields: Fields, number: number) =>
  (fields.get(number)?.[0] as Uint8Array) ?? new Uint8Array();
const hexOf = (fields: Fields, number: number) => Buffer.from(bytesOf(fields, number)).toString('hex');
const textOf = (fields: Fields, number: number) => Buffer.from(bytesOf(fields, number)).toString();

/** ExportTraceServiceRequest of opentelemetry/proto/collector/trace/v1/trace_service.proto. */
function spansIn(body: Buffer): CollectedSpan[] {
  return inner(fieldsIn(body), 1).flatMap((resourceSpans) => {
    const resource = attributesIn(inner(resourceSpans, 1)[0] ?? new Map(), 1);
    const spans = inner(resourceSpans, 2).flatMap((scopeSpans) => inner(scopeSpans, 2));
    return spans.map((span) => ({
      traceId: hexOf(span, 1),
      spanId: hexOf(span, 2),
      parentId: hexOf(span, 4),
      name: textOf(span, 5),
      kind: Number(span.get(6)?.[0] ?? 0),
      attributes: attributesIn(span, 9),
      resource,
      links: inner(span, 13).map((link) => hexOf(link, 2)),
    }));
  });
}

/** Repeated KeyValue of opentelemetry/proto/common/v1/common.proto. */
function attributesIn(fields: Fields, number: number): Record<string, string | number | boolean> {
  return Object.fromEntries(
    inner(fields, number).map((pair) => {
      const value = inner(pair, 2)[0] ?? new Map();
      if (value.has(1)) return [textOf(pair, 1), textOf(value, 1)];
      if (value.has(2)) return [textOf(pair, 1), value.get(2)?.[0] === 1n];
      return [textOf(pair, 1), Number(value.get(3)?.[0] ?? 0)];
    }),
  );
}
