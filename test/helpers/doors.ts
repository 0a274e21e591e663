import { once } from 'node:events';
import { connect as connectH2 } from 'node:http2';
import { setImmediate } from 'node:timers/promises';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { ChannelCredentials } from '@grpc/grpc-js';
import {
  type Channel,
  ClientError,
  createChannel,
  createClient,
  Metadata,
  waitForChannelReady,
} from 'nice-grpc';
import type { Address } from '#common/config/fields.ts';
import { type ErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import { headed, writeClose, writeGetKey } from '#common/etsi/etsi004-binary-codec.ts';
import { JsonFramer } from '#common/etsi/json-framer.ts';
import {
  type KeyDeliveryClient,
  KeyDeliveryCloseRequest,
  KeyDeliveryDefinition,
} from '#gen/keyweave/v1/key_delivery.ts';
import type { Answer, Door, DoorClient, Who, Wish } from '../contract/front-end-contract.ts';
import { BinaryClient } from './binary-client.ts';
import { Etsi004Client } from './etsi004-client.ts';
import { QOS as JSON_QOS, keyOf, type LocalNode } from './network.ts';

/** PEM of a client, and of the CA that it and the nodes are of. */
export interface ClientPem {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface DoorOptions {
  readonly initiator: LocalNode;
  readonly responder: LocalNode;
  readonly own: ClientPem;
  readonly other: ClientPem;
  /** Of whom no list of the nodes says anything. */
  readonly stranger: ClientPem;
}

const KSID = '00112233-4455-4677-8899-aabbccddeeff';
const QOS = {
  ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 30_000, ttlS: 600 },
  metadataMimetype: 'application/json',
};

/** Requests that one who never reads has sent. */
const UNREAD_REQUESTS = 20_000;

/** Handshakes at once. */
const AT_ONCE = 20;

/** How long a channel may take until it is connected. */
const CONNECT_MS = 60_000;

/** The status that a stranger's OPEN_CONNECT is answered with. */
async function asStranger({ initiator, responder }: DoorOptions, connect: Door['connect']): Promise<number> {
  const client = await connect('initiator', 'stranger');
  const [source, destination] = [`hybrid://x@${initiator.uuid}`, `hybrid://x@${responder.uuid}`];
  const { status } = await client.open({ source, destination, ksid: KSID });
  client.disconnect();
  return status;
}

/** A connection that has shown who it is; on a machine that has a lot to do a handshake may need another go. */
export async function secured(address: Address, pem: ConnectionOptions, goes = 5): Promise<TLSSocket> {
  const socket = connectTls({ ...address, ...pem, checkServerIdentity: () => undefined });
  try {
    await once(socket, 'secureConnect');
    return socket.on('error', () => undefined);
  } catch (error) {
    if (goes === 1) throw error;
    return secured(address, pem, goes - 1);
  }
}

/** Connections that have shown who they are and say nothing more. */
export async function idle(count: number, address: Address, pem: ConnectionOptions): Promise<() => void> {
  const sockets: TLSSocket[] = [];
  while (sockets.length < count) {
    const batch = Array.from({ length: Math.min(AT_ONCE, count - sockets.length) }, () =>
      secured(address, pem),
    );
    sockets.push(...(await Promise.all(batch)));
  }
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}

async function neverReading(address: Address, pem: ClientPem, request: Buffer): Promise<() => void> {
  const socket = await secured(address, { ...pem });
  socket.pause();
  socket.write(Buffer.concat(Array.from({ length: UNREAD_REQUESTS }, () => request)));
  return () => socket.destroy();
}

export async function inPieces(socket: TLSSocket, request: Buffer): Promise<void> {
  for (const byte of request) {
    socket.write(Buffer.from([byte]));
    await setImmediate();
  }
}

/** Until the other end has ended the connection. */
export async function untilEnded(socket: TLSSocket): Promise<void> {
  socket.resume();
  if (!socket.closed) await once(socket, 'close');
}

export function jsonDoor(options: DoorOptions): Door {
  const { own } = options;
  const address = options.initiator.json;
  const text = (command: string, data: object) => Buffer.from(JSON.stringify({ command, data }));
  const ask = async (send: (socket: TLSSocket) => Promise<void> | void): Promise<number> => {
    const socket = await secured(address, { ...own });
    const framer = new JsonFramer({ maxBytes: 1_000_000 });
    const answer = new Promise<number>((resolve) => {
      socket.on('data', (data: Buffer) => {
        for (const frame of framer.push(data))
          if (Buffer.isBuffer(frame)) resolve(JSON.parse(frame.toString()).status);
      });
    });
    await send(socket);
    const status = await answer;
    socket.destroy();
    return status;
  };
  return {
    name: 'etsi004-json',
    async connect(end, who: Who = 'own'): Promise<DoorClient> {
      const { ca, cert, key } = options[who];
      const client = await Etsi004Client.connect(options[end].json, {
        ...{ ca: Buffer.from(ca), cert: Buffer.from(cert), key: Buffer.from(key) },
      });
      return {
        open: async ({ source, destination, ksid }) => {
          const qos = { ...JSON_QOS, max_bps: 0, min_bps: 0, timeout: 30_000, ttl: 600 };
          const answer = await client.open({ source, destination, key_stream_id: ksid, qos });
          return { status: answer.status, ksid: answer.key_stream_id };
        },
        getKey: async (ksid, index) => {
          const answer = await client.getKey(ksid, index);
          if (answer.status !== 0) return { status: answer.status };
          return { status: 0, index: answer.index, key: keyOf(answer) };
        },
        close: async (ksid) => ({ status: (await client.close(ksid)).status }),
        disconnect: () => client.disconnect(),
      };
    },
    stranger() {
      return asStranger(options, this.connect);
    },
    malformed: () => ask((socket) => void socket.write('{"command":1}')),
    async oversized() {
      const socket = await secured(address, { ...own });
      socket.write(`{"command":"${'x'.repeat(100_000)}`);
      await untilEnded(socket);
    },
    slow: () => ask((socket) => inPieces(socket, text('CLOSE', { key_stream_id: KSID }))),
    neverReading: (ksid) => neverReading(address, own, text('GET_KEY', { key_stream_id: ksid, index: 7 })),
    idle: (count) => idle(count, address, { ...own }),
  };
}

export function binaryDoor(options: DoorOptions): Door {
  const { own } = options;
  const address = options.initiator.binary as Address;
  const ask = async (send: (client: BinaryClient) => Promise<void> | void): Promise<number> => {
    const client = await BinaryClient.connect(address, { ...own });
    await send(client);
    const message = await client.message();
    client.disconnect();
    return message?.readUInt32BE(8) ?? -1;
  };
  return {
    name: 'etsi004-binary',
    async connect(end, who: Who = 'own'): Promise<DoorClient> {
      const client = await BinaryClient.connect(options[end].binary as Address, { ...options[who] });
      return {
        open: async (wish) => client.open({ ...wish, qos: QOS }),
        getKey: (ksid, index) => client.getKey(ksid, index),
        close: async (ksid) => ({ status: await client.close(ksid) }),
        disconnect: () => client.disconnect(),
      };
    },
    stranger() {
      return asStranger(options, this.connect);
    },
    malformed: () => ask((client) => client.send(headed(0x04, Buffer.alloc(8 + 23)))),
    async oversized() {
      const client = await BinaryClient.connect(address, { ...own });
      const header = headed(0x02, Buffer.alloc(8));
      header.writeUInt32BE(0xffff_ffff, 4);
      client.send(header);
      while ((await client.message()) !== undefined);
    },
    slow: () => ask((client) => inPieces(client.socket as TLSSocket, writeClose(KSID))),
    neverReading: (ksid) => neverReading(address, own, writeGetKey({ ksid, index: 7, metadataRoom: 1_000 })),
    idle: (count) => idle(count, address, { ...own }),
  };
}

/** A channel of a client to a node's gRPC listener, with connections of its own. */
export function grpcChannel({ host, port }: Address, pem: ClientPem): Channel {
  const [ca, key, cert] = [pem.ca, pem.key, pem.cert].map((text) => Buffer.from(text));
  return createChannel(
    `${host}:${port}`,
    ChannelCredentials.createSsl(ca, key, cert, { checkServerIdentity: () => undefined }),
    { 'grpc.ssl_target_name_override': 'gateway', 'grpc.use_local_subchannel_pool': 1 },
  );
}

export function grpcDoor(options: DoorOptions): Door {
  const { own } = options;
  const address = options.initiator.grpc as Address;
  const connect = async ({ grpc }: LocalNode, pem: ClientPem) => {
    const channel = grpcChannel(grpc as Address, pem);
    await waitForChannelReady(channel, new Date(Date.now() + CONNECT_MS));
    return { client: createClient(KeyDeliveryDefinition, channel), end: () => channel.close() };
  };
  /** The status of ETSI GS QKD 004 that the reason of a refusal stands for. */
  const answered = async (
    call: (options: { onTrailer: (trailer: Metadata) => void }) => Promise<Answer>,
  ): Promise<Answer> => {
    let trailer = Metadata();
    try {
      return await call({ onTrailer: (given) => (trailer = given) });
    } catch (error) {
      const reason = trailer.get('keyweave-reason');
      if (!(error instanceof ClientError) || reason === undefined) throw error;
      return { status: STATUS_TABLE[reason as ErrorReason].etsi004 };
    }
  };
  const withClient = async <T>(act: (client: KeyDeliveryClient) => Promise<T>): Promise<T> => {
    const { client, end } = await connect(options.initiator, own);
    try {
      return await act(client);
    } finally {
      end();
    }
  };
  return {
    name: 'grpc',
    async connect(at, who: Who = 'own'): Promise<DoorClient> {
      const { client, end } = await connect(options[at], options[who]);
      return {
        open: ({ source, destination, ksid }: Wish) =>
          answered(async (call) => {
            const request = { source, destination, keyStreamId: ksid, qos: QOS };
            const { keyStreamId, adjusted } = await client.openConnect(request, call);
            return { status: adjusted === '' ? 0 : 7, ksid: keyStreamId };
          }),
        getKey: (keyStreamId, index) =>
          answered(async (call) => {
            const { keys } = await client.getKeys({ keyStreamId, index }, call);
            return { status: 0, index: keys[0]?.index, key: Buffer.from(keys[0]?.key ?? []) };
          }),
        close: (keyStreamId) =>
          answered(async (call) => {
            await client.close({ keyStreamId }, call);
            return { status: 0 };
          }),
        disconnect: end,
      };
    },
    stranger() {
      return asStranger(options, this.connect);
    },
    malformed: () =>
      withClient(async (client) => {
        const call = (given: object) => client.getKeys({ keyStreamId: 'no uuid' }, given);
        return (await answered(async (given) => call(given).then(() => ({ status: 0 })))).status;
      }),
    oversized: () =>
      withClient(async (client) => {
        const source = 'x'.repeat(5 * 1024 * 1024);
        const refused = await client.openConnect({ source, destination: '' }).catch((error) => error);
        if (!(refused instanceof ClientError)) throw new Error('it was taken');
      }),
    async slow() {
      const { host, port } = address;
      const session = connectH2(`https://${host}:${port}`, { ...own, checkServerIdentity: () => undefined });
      const body = KeyDeliveryCloseRequest.encode({ keyStreamId: KSID }).finish();
      const stream = session.request({
        ':method': 'POST',
        ':path': `/${KeyDeliveryDefinition.fullName}/${KeyDeliveryDefinition.methods.close.name}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, body.length]), body]);
      const reason = new Promise<string>((resolve) => {
        for (const event of ['response', 'trailers'] as const)
          stream.on(event, (headers) => {
            if (headers['keyweave-reason'] !== undefined) resolve(String(headers['keyweave-reason']));
          });
      });
      for (const byte of frame) {
        stream.write(Buffer.from([byte]));
        await setImmediate();
      }
      stream.end();
      stream.resume();
      const { etsi004 } = STATUS_TABLE[(await reason) as ErrorReason];
      session.destroy();
      return etsi004;
    },
    async neverReading(ksid) {
      const { client, end } = await connect(options.initiator, own);
      const leave = new AbortController();
      async function* grants() {
        yield { keyStreamId: ksid, credits: 4_096 };
        await new Promise<void>((resolve) => leave.signal.addEventListener('abort', () => resolve()));
      }
      const keys = client.watchKeys(grants())[Symbol.asyncIterator]();
      await keys.next();
      return () => {
        leave.abort();
        end();
      };
    },
    idle: (count) => idle(count, address, { ...own, ALPNProtocols: ['h2'] }),
  };
}
