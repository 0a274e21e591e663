import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ChannelCredentials } from '@grpc/grpc-js';
import { ClientError, createChannel, createClient, Metadata, Status } from 'nice-grpc';
import type { Address } from '#common/config/fields.ts';
import { HealthCheckResponse_ServingStatus, HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import {
  type KeyDeliveryClient,
  KeyDeliveryDefinition,
  PeerApplication,
} from '#gen/keyweave/v1/key_delivery.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { runCommand } from '../helpers/command.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { eventually, keyOf, type LocalNode, openData, twoNodes } from '../helpers/network.ts';

const { network, alice, bob } = await twoNodes({
  config: () => ({ listeners: { grpc: { port: 0 } } }),
});
const QOS = {
  ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 30_000, ttlS: 600 },
  metadataMimetype: 'application/json',
};

interface App {
  readonly pem: { readonly ca: string; readonly cert: string; readonly key: string };
  at(node: LocalNode): KeyDeliveryClient;
}

const closing: (() => void)[] = [];
after(() => {
  for (const close of closing) close();
});

function channelTo({ grpc }: LocalNode, { ca, cert, key }: App['pem']) {
  const { host, port } = grpc as Address;
  const [root, own, chain] = [ca, key, cert].map((pem) => Buffer.from(pem));
  const channel = createChannel(
    `${host}:${port}`,
    ChannelCredentials.createSsl(root, own, chain, { checkServerIdentity: () => undefined }),
    { 'grpc.ssl_target_name_override': 'gateway', 'grpc.default_authority': 'gateway' },
  );
  closing.push(() => channel.close());
  return channel;
}

async function app(name: string): Promise<App> {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const { certificate, key } = await clientCertificate(ca, {
    subject: `CN=${name}`,
    names: [{ type: 'url', value: `spiffe://apps/${name}` }],
  });
  const pem = { ca: ca.certificate, cert: certificate, key };
  return { pem, at: (node) => createClient(KeyDeliveryDefinition, channelTo(node, pem)) };
}

let own: App;
let other: App;
before(async () => {
  [own, other] = await Promise.all([app('own'), app('other')]);
});

/** A stream with an application at each node. */
async function openPair(
  change: object = {},
): Promise<{ a: KeyDeliveryClient; b: KeyDeliveryClient; ksid: string }> {
  const [a, b] = [own.at(alice), other.at(bob)];
  const { keyStreamId: ksid } = await a.openConnect({ peerNode: bob.uuid, qos: QOS, ...change });
  await b.openConnect({ peerNode: alice.uuid, keyStreamId: ksid, qos: QOS });
  return { a, b, ksid };
}

/** What a refused call says: its code, and the reason in its ErrorInfo. */
async function refusal(call: (onTrailer: (trailer: Metadata) => void) => Promise<unknown>) {
  let trailer = Metadata();
  const error = await call((given) => {
    trailer = given;
  }).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ClientError, String(error));
  const details = trailer.get('grpc-status-details-bin');
  return [error.code, trailer.get('keyweave-reason'), Buffer.from(details ?? []).toString('latin1')] as const;
}

describe('the gRPC API', () => {
  it('gives both ends the same keys, in batches, each once', async () => {
    const { a, b, ksid } = await openPair();
    const seen = new Map<number, string>();
    while (seen.size < 100) {
      const { keys } = await a.getKeys({ keyStreamId: ksid, maxKeys: 32 });
      assert.ok(keys.length >= 1 && keys.length <= 32);
      for (const { index, key, metadata } of keys) {
        assert.ok(!seen.has(index) && key.some((byte) => byte !== 0));
        assert.match(metadata, /"method":"hkdf-sha384"/);
        seen.set(index, Buffer.from(key).toString('hex'));
      }
    }
    for (let read = 0; read < 100; ) {
      const { keys } = await b.getKeys({ keyStreamId: ksid, maxKeys: 256 });
      for (const { index, key } of keys) {
        const expected = seen.get(index);
        if (expected !== undefined) assert.equal(Buffer.from(key).toString('hex'), expected);
        read += 1;
      }
    }
  });

  it('gives the key of an index, and what follows it without a gap', async () => {
    const { a, b, ksid } = await openPair();
    const first = await a.getKeys({ keyStreamId: ksid, index: 3, maxKeys: 4 });
    assert.equal(first.keys[0]?.index, 3);
    for (const [i, { index }] of first.keys.entries()) assert.equal(index, 3 + i);
    const same = await b.getKeys({ keyStreamId: ksid, index: 3 });
    assert.deepEqual(same.keys[0]?.key, first.keys[0]?.key);
    const [code, reason] = await refusal((onTrailer) =>
      a.getKeys({ keyStreamId: ksid, index: 3 }, { onTrailer }),
    );
    assert.deepEqual([code, reason], [Status.RESOURCE_EXHAUSTED, 'INSUFFICIENT_KEY']);
  });

  it('sends as many keys as the client grants, and waits for more credits', async () => {
    const { a, b, ksid } = await openPair();
    const grant = Promise.withResolvers<void>();
    async function* requests() {
      yield { keyStreamId: ksid, credits: 5 };
      await grant.promise;
      yield { credits: 3 };
    }
    const indexes: number[] = [];
    for await (const { key } of a.watchKeys(requests())) {
      assert.ok(key);
      indexes.push(key.index);
      const { keys } = await b.getKeys({ keyStreamId: ksid, index: key.index });
      assert.deepEqual(keys[0]?.key, key.key);
      if (indexes.length === 5) grant.resolve();
    }
    assert.deepEqual(indexes, [0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('says why it refuses, in google.rpc.ErrorInfo', async () => {
    const a = own.at(alice);
    for (const [request, code, reason] of [
      [{ peerNode: 'bob' }, Status.INVALID_ARGUMENT, 'BAD_REQUEST'],
      [{ source: 'x', destination: 'y' }, Status.FAILED_PRECONDITION, 'NO_ROUTE'],
      [{ peerNode: randomUUID() }, Status.FAILED_PRECONDITION, 'NO_ROUTE'],
      [
        {
          source: `hybrid://x@${alice.uuid}?hybridization=none`,
          destination: `hybrid://x@${bob.uuid}`,
        },
        Status.UNIMPLEMENTED,
        'UNSUPPORTED',
      ],
    ] as const) {
      const [given, why, details] = await refusal((onTrailer) =>
        a.openConnect({ ...request, qos: QOS }, { onTrailer }),
      );
      assert.deepEqual([given, why], [code, reason]);
      assert.match(details, new RegExp(`google\\.rpc\\.ErrorInfo.*${reason}.*keyweave.*etsi004_status`, 's'));
    }
    for (const [maxKeys, why] of [
      [257, 'BAD_REQUEST'],
      [1, 'UNKNOWN_STREAM'],
    ] as const) {
      const call = refusal((onTrailer) => a.getKeys({ keyStreamId: randomUUID(), maxKeys }, { onTrailer }));
      assert.equal((await call)[1], why);
    }
  });

  it('keeps a stream for the identity that opened it', async () => {
    const a = own.at(alice);
    const { keyStreamId } = await a.openConnect({ peerNode: bob.uuid, qos: QOS });
    const stranger = other.at(alice);
    for (const call of [
      stranger.getKeys({ keyStreamId }),
      stranger.getStatus({ keyStreamId }),
      stranger.close({ keyStreamId }),
    ])
      await assert.rejects(call, (error) => error instanceof ClientError && error.code === Status.NOT_FOUND);
    const listed = async (client: KeyDeliveryClient) => {
      const { streams } = await client.listStreams({ pageSize: 1_000 });
      return streams.some((stream) => stream.keyStreamId === keyStreamId);
    };
    assert.deepEqual([await listed(a), await listed(stranger)], [true, false]);
    const { stream } = await a.getStatus({ keyStreamId });
    assert.deepEqual(
      [stream?.peerNode, stream?.peerApplication, stream?.sources, stream?.qos],
      [bob.uuid, PeerApplication.ABSENT, ['ML-KEM-768', 'QKD'], QOS],
    );
    const early = await refusal((onTrailer) => a.getKeys({ keyStreamId }, { onTrailer }));
    assert.deepEqual(early.slice(0, 2), [Status.FAILED_PRECONDITION, 'PEER_APPLICATION_ABSENT']);
    await a.close({ keyStreamId });
    assert.equal(await listed(a), false);
  });

  it('lists streams page by page', async () => {
    const client = (await app('lister')).at(alice);
    const opened = new Set<string>();
    for (let i = 0; i < 5; i++)
      opened.add((await client.openConnect({ peerNode: bob.uuid, qos: QOS })).keyStreamId);
    const found: string[] = [];
    let pageToken = '';
    do {
      const page = await client.listStreams({ pageSize: 2, pageToken });
      found.push(...page.streams.map((stream) => stream.keyStreamId));
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    assert.deepEqual(found, [...opened].sort());
  });

  it('shares streams with the JSON API, and tells what they can be made of', async () => {
    const a = own.at(alice);
    const data = openData(alice, bob, 'hybridization=kmac256&key_sources=ML-KEM-768,QKD');
    const { keyStreamId } = await a.openConnect({
      source: data.source,
      destination: data.destination,
      qos: QOS,
    });
    const json = await Etsi004Client.connect(bob.json);
    assert.equal((await json.open({ ...data, key_stream_id: keyStreamId })).key_stream_id, keyStreamId);
    const [{ keys }, answer] = await Promise.all([a.getKeys({ keyStreamId }), json.getKey(keyStreamId)]);
    assert.deepEqual(Buffer.from(keys[0]?.key ?? []), keyOf(answer));
    json.disconnect();
    const { sources, methods } = await a.listAlgorithms({});
    assert.equal(sources.find(({ name }) => name === 'ML-KEM-768')?.unavailable, '');
    assert.ok(sources.some(({ name }) => name === 'QKD'));
    assert.ok(methods.some(({ name }) => name === 'caskdf'));
  });

  it('serves health to applications', async () => {
    const health = createClient(HealthDefinition, channelTo(alice, own.pem));
    await eventually('the API is ready', 30_000, async () => {
      const { status } = await health.check({ service: KeyDeliveryDefinition.fullName });
      return status === HealthCheckResponse_ServingStatus.SERVING || undefined;
    });
  });
});

describe('keyweave call', () => {
  const files = () => {
    const names = (['ca', 'cert', 'key'] as const).map((name) => {
      const path = join(network.folder, `call.${name}`);
      writeFileSync(path, own.pem[name]);
      return [`--${name}`, path];
    });
    const { host, port } = alice.grpc as Address;
    return [...names.flat(), '--address', `${host}:${port}`];
  };

  it('opens a stream, takes keys and tells of refusals', async () => {
    const opened = await runCommand([
      'call',
      'OpenConnect',
      JSON.stringify({ peer_node: bob.uuid }),
      ...files(),
    ]);
    assert.equal(opened.code, 0, opened.stderr);
    const { keyStreamId } = JSON.parse(opened.stdout) as { keyStreamId: string };
    await other.at(bob).openConnect({ peerNode: alice.uuid, keyStreamId, qos: QOS });
    const watched = await runCommand([
      'call',
      'WatchKeys',
      JSON.stringify({ keyStreamId, credits: 3 }),
      ...files(),
    ]);
    assert.equal(watched.code, 0, watched.stderr);
    const keys = watched.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).key);
    assert.deepEqual(
      keys.map(({ index }) => index),
      [0, 1, 2],
    );
    for (const { key } of keys) assert.equal(Buffer.from(key, 'base64').length, 32);
    const refused = await runCommand(['call', 'GetKeys', '{"keyStreamId":"x"}', ...files()]);
    assert.equal(refused.code, 6);
    assert.match(refused.stderr, /INVALID_ARGUMENT: key_stream_id is not a UUID/);
    const unknown = await runCommand(['call', 'GetKees', ...files()]);
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /there are OpenConnect, GetKeys/);
  });
});
