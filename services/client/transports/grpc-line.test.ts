import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { createServer } from 'node:tls';
import { Metadata, Server, ServerCredentials, type sendUnaryData, status } from '@grpc/grpc-js';
import { createCa, issueServiceCertificate } from '#certs/issue.ts';
import { GetKeysResponse, OpenConnectResponse } from '#gen/keyweave/v1/key_delivery.ts';
import { createClient, type KeyStream, KeyStreamError, type KeyStreamErrorCode } from '../main.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const URIS = { source: 'hybrid://a@x', destination: 'hybrid://a@y' };
const QOS = {
  ...{ keyChunkSize: 4, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 20, ttlS: 60 },
  metadataMimetype: '',
};

const network = { network: 'keyweave', days: 1 };
const ca = await createCa(network);
const pem = await issueServiceCertificate({
  ...{ ...network, ca, nodeUuid: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa', service: 'gateway' },
  names: ['127.0.0.1'],
});
const tls = { ca: ca.certificate, cert: pem.certificate, key: pem.key };

type Answer = (done: sendUnaryData<Buffer>) => void;

const key = (index: number, bytes: number) => ({ index, key: new Uint8Array(bytes).fill(7), metadata: '' });
const keys = (...given: ReturnType<typeof key>[]): Answer => {
  const answer = Buffer.from(GetKeysResponse.encode({ keys: given }).finish());
  return (done) => done(null, answer);
};
const refusal = (code: status, details: string, reason?: string): Answer => {
  const metadata = new Metadata();
  if (reason !== undefined) metadata.set('keyweave-reason', reason);
  return (done) => done({ code, details, metadata });
};

/** A server of the API that answers each GetKeys with the next of its answers, the last one again and again. */
async function server(
  t: TestContext,
  answers: Answer[],
  { port = 0, timeoutMs = 20 } = {},
): Promise<{ port: number; end: () => void }> {
  const raw = { requestStream: false, responseStream: false } as const;
  const bytes = (value: Buffer) => value;
  const method = (name: string) => ({
    ...raw,
    path: `/keyweave.v1.KeyDelivery/${name}`,
    ...{
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    },
  });
  const opened = OpenConnectResponse.encode({
    keyStreamId: KSID,
    qos: { ...QOS, timeoutMs },
    adjusted: '',
  }).finish();
  const made = new Server();
  made.addService(
    { openConnect: method('OpenConnect'), getKeys: method('GetKeys'), close: method('Close') },
    {
      openConnect: (_: unknown, done: sendUnaryData<Buffer>) => done(null, Buffer.from(opened)),
      getKeys: (_: unknown, done: sendUnaryData<Buffer>) => {
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        answer?.(done);
      },
      close: (_: unknown, done: sendUnaryData<Buffer>) => done(null, Buffer.alloc(0)),
    },
  );
  const credentials = ServerCredentials.createSsl(
    Buffer.from(ca.certificate),
    [{ cert_chain: Buffer.from(pem.certificate), private_key: Buffer.from(pem.key) }],
    true,
  );
  const bound = await new Promise<number>((resolve, reject) =>
    made.bindAsync(`127.0.0.1:${port}`, credentials, (error, got) => (error ? reject(error) : resolve(got))),
  );
  const end = () => made.forceShutdown();
  t.after(end);
  return { port: bound, end };
}

async function opened(t: TestContext, port: number, retry: object | false = false): Promise<KeyStream> {
  const client = await createClient({
    ...{ transport: 'grpc', host: '127.0.0.1', port, tls, retry },
    limits: { connectMs: 2_000, marginMs: 30 },
  });
  t.after(() => client.end());
  return client.open({ ...URIS, qos: QOS });
}

const code =
  (wanted: KeyStreamErrorCode, words = /./) =>
  (thrown: unknown) => {
    assert.ok(thrown instanceof KeyStreamError, String(thrown));
    assert.equal(thrown.code, wanted, thrown.message);
    assert.match(thrown.message, words);
    return true;
  };

describe('a client over gRPC', () => {
  it('takes keys, of index 0 too', async (t) => {
    const { port } = await server(t, [keys(key(0, 4)), keys(key(1, 4))]);
    const stream = await opened(t, port);
    using first = await stream.at(0);
    assert.deepEqual([first.index, first.key.expose()], [0, Buffer.alloc(4, 7)]);
    assert.equal((await stream.next()).index, 1);
    await stream.close();
  });

  for (const [what, answer, wanted, words] of [
    [
      'a reason of ours',
      refusal(status.RESOURCE_EXHAUSTED, 'full', 'NO_ROOM'),
      'INSUFFICIENT_KEY',
      /status 2: full/,
    ],
    ['a refusal of the caller', refusal(status.PERMISSION_DENIED, 'not you'), 'NO_QKD_CONNECTION', /not you/],
    [
      'a service that is not there',
      refusal(status.UNIMPLEMENTED, 'what?'),
      'WRONG_PROTOCOL',
      /UNIMPLEMENTED/,
    ],
    ['a key of another size', keys(key(0, 5)), 'BAD_ANSWER', /not one key of 4 bytes/],
    ['two keys', keys(key(0, 4), key(1, 4)), 'BAD_ANSWER', /not one key/],
    ['no key', keys(), 'BAD_ANSWER', /not one key/],
    ['another index', keys(key(3, 4)), 'BAD_ANSWER', /index 9 was asked for, and 3 came/],
    ['no message', (done) => done(null, Buffer.alloc(100, 0xff)), 'WRONG_PROTOCOL', /GET_KEY/],
    ['a message too long', keys(key(0, 1_000_000)), 'WRONG_PROTOCOL', /RESOURCE_EXHAUSTED/],
    ['a connection that is lost', refusal(status.UNAVAILABLE, 'gone'), 'CONNECTION_LOST', /no answer: gone/],
    ['nothing', () => undefined, 'NO_ANSWER', /no answer within/],
  ] as [string, Answer, KeyStreamErrorCode, RegExp][])
    it(`fails with ${wanted} on ${what}`, async (t) => {
      const { port } = await server(t, [answer]);
      const stream = await opened(t, port);
      await assert.rejects(stream.at(9), code(wanted, words));
    });

  it('waits for the other application where it is absent, and not for a stream that nobody knows', async (t) => {
    const absent = refusal(status.FAILED_PRECONDITION, 'not yet', 'PEER_APPLICATION_ABSENT');
    const { port } = await server(t, [absent, absent, keys(key(0, 4))], { timeoutMs: 20_000 });
    const retry = { forMs: 20_000, firstPauseMs: 1, longestPauseMs: 1 };
    assert.equal((await (await opened(t, port, retry)).next()).index, 0);
    const unknown = await server(t, [refusal(status.NOT_FOUND, 'who?', 'UNKNOWN_STREAM'), keys(key(0, 4))]);
    const stream = await opened(t, unknown.port, retry);
    await assert.rejects(stream.next(), code('PEER_APPLICATION_NOT_CONNECTED', /who\?/));
  });

  it('goes on once the server is there again', async (t) => {
    const first = await server(t, [keys(key(0, 4))]);
    const stream = await opened(t, first.port, { forMs: 20_000, firstPauseMs: 10, longestPauseMs: 50 });
    (await stream.next()).wipe();
    first.end();
    const waiting = stream.next();
    await server(t, [keys(key(1, 4))], { port: first.port });
    assert.equal((await waiting).index, 1);
  });

  it('ends a call at its signal, and at the end of the client', async (t) => {
    const { port } = await server(t, [() => undefined]);
    const stream = await opened(t, port);
    const reason = new Error('enough');
    const controller = new AbortController();
    const waiting = stream.next({ signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(waiting, reason);
    const closed = assert.rejects(stream.next(), code('CLOSED'));
    stream.detach();
    await closed;
  });

  it('says where nobody listens, and who speaks something else', async (t) => {
    await assert.rejects(opened(t, 1), code('UNREACHABLE', /no node answers at 127\.0\.0\.1:1/));
    const other = createServer({ cert: pem.certificate, key: pem.key }, (socket) =>
      socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    t.after(() => other.close());
    const { port } = other.address() as { port: number };
    await assert.rejects(opened(t, port), (thrown) => {
      assert.ok(thrown instanceof KeyStreamError);
      assert.ok(['UNREACHABLE', 'CONNECTION_LOST', 'WRONG_PROTOCOL'].includes(thrown.code), thrown.message);
      return true;
    });
  });
});
