import { randomUUID } from 'node:crypto';
import { createClient } from 'nice-grpc';
import type { Address } from '#common/config/fields.ts';
import {
  ETSI004_MESSAGE,
  HEADER_BYTES,
  headed,
  NEXT_INDEX,
  writeGetKey,
  writeOpenConnect,
} from '#common/etsi/etsi004-binary-codec.ts';
import { KeyDeliveryDefinition } from '#gen/keyweave/v1/key_delivery.ts';
import { type ClientPem, grpcChannel } from '../../helpers/doors.ts';
import type { LocalNode } from '../../helpers/network.ts';
import { comparable, isBalanced } from './load-client.ts';
import { WireClient } from './wire-client.ts';

/** A key as an end has got it; of one key both ends get the same two. */
export type NamedKey = readonly [name: string | number, key: string];

/** Both ends of one stream, or of a pair of SAEs. */
export interface DoorStream {
  /** Keys that are new to both ends, one at least at each, and not always as many. */
  fetch(): Promise<readonly [readonly NamedKey[], readonly NamedKey[]]>;
  close(): void;
}

/** Where and as whom the two applications call. */
export interface DoorNetwork {
  readonly nodes: readonly [LocalNode, LocalNode];
  readonly pems: readonly [ClientPem, ClientPem];
  /** Of the URIs. */
  readonly query: string;
}

/** Opens one stream of a door; `keys` is how many are asked for at a time. */
export type Door = (network: DoorNetwork, keys: number) => Promise<DoorStream>;

const QOS = {
  ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 30_000, ttlS: 600 },
  metadataMimetype: 'application/json',
};
const METADATA_ROOM = 1_024;

interface End {
  fetch(): Promise<readonly NamedKey[]>;
  close(): void;
}

interface Names {
  readonly ksid: string;
  readonly source: string;
  readonly destination: string;
}

/** The two ends of a fresh stream, which fetch at once. */
async function stream(
  { nodes, pems, query }: DoorNetwork,
  open: (node: LocalNode, pem: ClientPem, names: Names) => Promise<End>,
): Promise<DoorStream> {
  const ksid = randomUUID();
  const uri = ({ uuid }: LocalNode) => `hybrid://${ksid}@${uuid}?${query}`;
  const names = { ksid, source: uri(nodes[0]), destination: uri(nodes[1]) };
  const ends = await Promise.all([open(nodes[0], pems[0], names), open(nodes[1], pems[1], names)]);
  return {
    fetch: () => Promise.all([ends[0].fetch(), ends[1].fetch()]),
    close: () => ends.forEach((end) => void end.close()),
  };
}

/** ETSI GS QKD 004, JSON over mutual TLS. */
export const jsonDoor: Door = (network) =>
  stream(network, async ({ json }, pem, { ksid: key_stream_id, source, destination }) => {
    const client = await WireClient.connect(json, pem, (received) =>
      received.at(-1) === 0x7d && isBalanced(received.toString('latin1')) ? received.length : undefined,
    );
    const qos = { key_chunk_size: 32, max_bps: 0, min_bps: 0, jitter: 0, priority: 0 };
    const data = {
      ...{ source, destination, key_stream_id },
      qos: { ...qos, timeout: 30_000, ttl: 600, metadata_mimetype: 'application/json' },
    };
    await asked(client, JSON.stringify({ command: 'OPEN_CONNECT', data }), '{"status":0');
    const get = JSON.stringify({ command: 'GET_KEY', data: { key_stream_id, index: 0 } });
    return {
      async fetch() {
        const text = comparable(String(await asked(client, get, '{"status":0')));
        return [[text, text]];
      },
      close: () => client.close(),
    };
  });

/** ETSI GS QKD 004, binary over mutual TLS. */
export const binaryDoor: Door = (network) =>
  stream(network, async ({ binary }, pem, names) => {
    const client = await WireClient.connect(binary as Address, pem, (received) =>
      received.length < HEADER_BYTES ? undefined : HEADER_BYTES + received.readUInt32BE(4),
    );
    const opened = await client.request(
      headed(ETSI004_MESSAGE.OPEN_CONNECT_REQUEST, writeOpenConnect({ ...names, qos: QOS })),
    );
    if (opened.readUInt32BE(HEADER_BYTES) !== 0) throw new Error(`OPEN_CONNECT: ${opened.toString('hex')}`);
    const get = headed(
      ETSI004_MESSAGE.GET_KEY_REQUEST,
      writeGetKey({ ksid: names.ksid, index: NEXT_INDEX, metadataRoom: METADATA_ROOM }),
    );
    return {
      async fetch() {
        const answer = await client.request(get);
        if (answer.readUInt32BE(HEADER_BYTES) !== 0) throw new Error(`GET_KEY: ${answer.toString('hex')}`);
        const keyAt = HEADER_BYTES + 12;
        const key = answer.toString('latin1', keyAt, keyAt + answer.readUInt32BE(HEADER_BYTES + 8));
        return [[answer.readUInt32BE(HEADER_BYTES + 4), key]];
      },
      close: () => client.close(),
    };
  });

/** keyweave.v1.KeyDelivery. */
export const grpcDoor: Door = (network, keys) =>
  stream(network, async ({ grpc }, pem, { ksid: keyStreamId, source, destination }) => {
    const channel = grpcChannel(grpc as Address, pem);
    const client = createClient(KeyDeliveryDefinition, channel);
    await client.openConnect({ source, destination, keyStreamId, qos: QOS });
    return {
      async fetch() {
        const answer = await client.getKeys({ keyStreamId, maxKeys: keys });
        return answer.keys.map(({ index, key }) => [index, Buffer.from(key).toString('latin1')]);
      },
      close: () => channel.close(),
    };
  });

/** The SAEs of the network's nodes, as its configuration names them. */
export const SAES = ['bench-a', 'bench-b'] as const;

/** ETSI GS QKD 014: the slave asks for what the master has got. */
export const restDoor: Door = async ({ nodes, pems }, keys) => {
  const [master, slave] = await Promise.all(
    nodes.map(({ rest }, i) => WireClient.connect(rest as Address, pems[i], httpSize)),
  );
  const take = async (client: WireClient | undefined, request: string): Promise<NamedKey[]> => {
    const answer = String(await asked(client as WireClient, request, 'HTTP/1.1 200'));
    const { keys: given } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))) as {
      keys: { key_ID: string; key: string }[];
    };
    return given.map(({ key_ID, key }) => [key_ID, key]);
  };
  return {
    async fetch() {
      const target = `/api/v1/keys/${SAES[1]}/enc_keys?number=${keys}`;
      const ofMaster = await take(master, `GET ${target} HTTP/1.1\r\nhost: kme\r\n\r\n`);
      const body = JSON.stringify({ key_IDs: ofMaster.map(([key_ID]) => ({ key_ID })) });
      const head = `host: kme\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
      const ofSlave = await take(
        slave,
        `POST /api/v1/keys/${SAES[0]}/dec_keys HTTP/1.1\r\n${head}\r\n\r\n${body}`,
      );
      return [ofMaster, ofSlave];
    },
    close: () => [master, slave].forEach((client) => void client?.close()),
  };
};

function httpSize(received: Buffer): number | undefined {
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const length = /^content-length: *(\d+)/im.exec(received.toString('latin1', 0, end))?.[1];
  return end + 4 + Number(length);
}

async function asked(client: WireClient, request: string, good: string): Promise<Buffer> {
  const answer = await client.request(request);
  if (!answer.toString('latin1', 0, good.length).startsWith(good))
    throw new Error(`${request.slice(0, 40)}: ${answer.toString('utf8', 0, 200)}`);
  return answer;
}
