import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createTcp } from 'node:net';
import { networkInterfaces } from 'node:os';
import { after, before, describe, it } from 'node:test';
import type { CompatServiceDefinition } from 'nice-grpc';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ownCallers } from '#common/grpc/callers.ts';
import { connect, connectOwn } from '#common/grpc/client.ts';
import { type GrpcServer, listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import { leanDefinition } from '#common/grpc/wire/lean-definition.ts';
import type { Log, LogFields } from '#common/log/log.ts';
import { HealthCheckResponse_ServingStatus, HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { ALICE, BOB, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';

const { SERVING } = HealthCheckResponse_ServingStatus;

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

const NO_IPV6 =
  !Object.values(networkInterfaces()).some((infos) => infos?.some(({ address }) => address === '::1')) &&
  'this machine has no IPv6 loopback';
const ANY_PORT = { host: '127.0.0.1', port: 0 };

/** What the hybridizer of these tests does when it is called. */
const ONE_BATCH = { batches: [{ keys: Buffer.alloc(32, 1) }] };
let derive: (signal: AbortSignal) => Promise<object> = async () => ONE_BATCH;
/** Told when a stream of key pairs ends, and how. */
let streamEnded: (why: string) => void = () => undefined;

async function start(change: object = {}, log?: Log) {
  const config = certificates.config(ALICE, change);
  const context = await certificates.context(config, 'hybridizer', {}, log);
  const server = await startGrpcServer(context, {
    address: ANY_PORT,
    services: [
      {
        definition: HybridizerDefinition,
        implementation: {
          derive: (_request: object, { signal }: { signal: AbortSignal }) => derive(signal),
        },
        callers: ownCallers(config, 'hybridizer'),
      },
      {
        definition: PqcSourceDefinition,
        implementation: {
          listAlgorithms: async () => ({}),
          encapsulate: async () => ({}),
          async *keyPairs(_requests: AsyncIterable<object>, { signal }: { signal: AbortSignal }) {
            yield { id: 1 };
            await once(signal, 'abort');
            streamEnded(String(signal.aborted));
          },
        },
        callers: ownCallers(config, 'hybridizer'),
      },
    ],
  });
  const { port } = server.address;
  const from = async (service: Parameters<typeof certificates.context>[1]) =>
    certificates.context(config, service, { hybridizer: port });
  return { server, port, config, from };
}

/** Runs `act` with a client of the hybridizer over a connection of its own. */
async function asCaller<T>(
  node: Awaited<ReturnType<typeof start>>,
  service: Parameters<typeof certificates.context>[1],
  act: (connection: ReturnType<typeof connectOwn>) => Promise<T>,
): Promise<T> {
  const connection = connectOwn(await node.from(service), 'hybridizer');
  try {
    return await act(connection);
  } finally {
    connection.close();
  }
}

const stopped = (server: GrpcServer) => server.stop();

describe('a gRPC server of ours', () => {
  it('serves who is on the list, on the port that it bound, and nobody else', async () => {
    const node = await start();
    try {
      assert.ok(node.port > 0);
      assert.equal(node.server.address.host, '127.0.0.1');
      const list = (service: Parameters<typeof certificates.context>[1]) =>
        asCaller(node, service, (connection) =>
          connection.client(HybridizerDefinition).derive({ batches: [] }),
        );
      assert.equal((await list('gateway')).batches.length, 1);
      await assert.rejects(list('qkd-source'), (error) => isReason(error, 'NOT_ALLOWED'));
    } finally {
      await stopped(node.server);
    }
  });

  it('logs who was refused, but lets nobody fill the log: the rest is counted', async () => {
    const lines: [message: string, fields: LogFields | undefined][] = [];
    const note = (message: string, fields?: LogFields) => void lines.push([message, fields]);
    const node = await start({}, { debug: () => undefined, info: note, warning: note, error: note });
    await asCaller(node, 'qkd-source', async (connection) => {
      const client = connection.client(HybridizerDefinition);
      for (let i = 0; i < 40; i++) await client.derive({}).catch(() => undefined);
    });
    await stopped(node.server);
    const refused = lines.filter(([message]) => message === 'a call was refused');
    assert.equal(refused.length, 10);
    assert.match(String(refused[0]?.[1]?.client), /^127\.0\.0\.1:\d+$/);
    const leftOut = lines.filter(([message]) => message === 'refusals of calls were left out');
    assert.deepEqual(leftOut, [[leftOut[0]?.[0], { from: '127.0.0.1', leftOut: 30 }]]);
  });

  it('says its health to every service of its own node, and to no other node', async () => {
    const node = await start();
    try {
      const health = await asCaller(node, 'pqc-source', (connection) =>
        connection.client(HealthDefinition).check({}),
      );
      assert.deepEqual(health, { status: SERVING });
      const stranger = await certificates.context(certificates.config(BOB), 'gateway');
      const connection = connect({
        context: stranger,
        address: node.server.address,
        nodeUuid: ALICE,
        service: 'hybridizer',
        unreachable: 'PEER_UNREACHABLE',
      });
      await assert.rejects(connection.client(HealthDefinition).check({}), (error: Error) => {
        assert.ok(isReason(error, 'NOT_ALLOWED'));
        assert.match(error.message, new RegExp(`hybridizer of node ${ALICE} refused`));
        return true;
      });
      connection.close();
    } finally {
      await stopped(node.server);
    }
  });

  it('brings errors to the caller with their reason, and hides those that nobody expected', async () => {
    const errors: string[] = [];
    const ignore = () => undefined;
    const log = { debug: ignore, info: ignore, warning: ignore, error: (text: string) => errors.push(text) };
    const node = await start({}, log);
    try {
      const call = () =>
        asCaller(node, 'gateway', (connection) => connection.client(HybridizerDefinition).derive({}));
      derive = () => Promise.reject(new KeyweaveError('QOS_NOT_MET', 'too long'));
      await assert.rejects(call(), /QOS_NOT_MET: too long/);
      derive = () => Promise.reject(new Error('of a path'));
      await assert.rejects(call(), /^KeyweaveError: INTERNAL: internal error; see the log of the service$/);
      assert.equal(errors.length, 1);
    } finally {
      derive = async () => ONE_BATCH;
      await stopped(node.server);
    }
  });

  it('ends what takes too long at both ends', async () => {
    const node = await start();
    try {
      const ended = Promise.withResolvers<void>();
      derive = async (signal) => {
        await once(signal, 'abort');
        ended.resolve();
        return {};
      };
      const call = asCaller(node, 'gateway', (connection) =>
        connection.client(HybridizerDefinition).derive({}, { timeoutMs: 150 }),
      );
      await assert.rejects(call, /TIMEOUT: hybridizer did not answer in time/);
      await ended.promise;
    } finally {
      derive = async () => ONE_BATCH;
      await stopped(node.server);
    }
  });

  it('lets open calls finish when it stops, ends streams, and takes nothing new', async () => {
    const node = await start();
    const connection = connectOwn(await node.from('gateway'), 'hybridizer');
    const [entered, leave, streamOver] = [
      Promise.withResolvers<void>(),
      Promise.withResolvers<void>(),
      Promise.withResolvers<string>(),
    ];
    let wasHurried: boolean | undefined;
    derive = async (signal) => {
      entered.resolve();
      await leave.promise;
      wasHurried = signal.aborted;
      return { batches: [] };
    };
    streamEnded = streamOver.resolve;
    const open = connection.client(HybridizerDefinition).derive({});
    const pairs = connection
      .client(PqcSourceDefinition)
      .keyPairs(idle(), { timeoutMs: Number.POSITIVE_INFINITY })
      [Symbol.asyncIterator]();
    assert.equal((await pairs.next()).value?.id, 1);
    await entered.promise;
    const stopping = node.server.stop();
    assert.equal(await streamOver.promise, 'true');
    leave.resolve();
    assert.deepEqual(await open, { batches: [] });
    assert.equal(wasHurried, false, 'a call that may finish was told to end');
    await pairs.next().catch(() => undefined);
    await stopping;
    await assert.rejects(connection.client(HybridizerDefinition).derive({ batches: [] }), (error) =>
      isReason(error, 'SERVICE_UNAVAILABLE'),
    );
    connection.close();
    derive = async () => ONE_BATCH;
  });

  it('has stopped after its grace though a call never ends', { timeout: 4_000 }, async () => {
    const node = await start({ limits: { shutdown_grace: '100ms' } });
    const entered = Promise.withResolvers<void>();
    derive = () => {
      entered.resolve();
      return new Promise(() => undefined);
    };
    const gone = new AbortController();
    const call = asCaller(node, 'gateway', (connection) =>
      connection.client(HybridizerDefinition).derive({}, { signal: gone.signal }),
    );
    await entered.promise;
    const started = performance.now();
    await node.server.stop();
    assert.ok(performance.now() - started >= 95, 'the call had no time to finish');
    gone.abort();
    await assert.rejects(call);
    derive = async () => ONE_BATCH;
  });

  it('says which address it cannot have', async () => {
    const holder = createTcp().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    const context = await certificates.context(certificates.config(ALICE), 'hybridizer');
    await assert.rejects(
      startGrpcServer(context, { address: { host: '127.0.0.1', port }, services: [] }),
      new RegExp(`BAD_CONFIG: hybridizer cannot listen on 127\\.0\\.0\\.1:${port}`),
    );
    holder.close();
  });

  it('serves no definition without a name, since it could have no list of callers', async () => {
    const context = await certificates.context(certificates.config(ALICE), 'hybridizer');
    const { derive } = leanDefinition(HybridizerDefinition) as Record<string, object>;
    const definition = { derive } as unknown as CompatServiceDefinition;
    const implementation = { derive: async () => ({}) };
    const entry = { definition, implementation, callers: new Set<string>() };
    await assert.rejects(startGrpcServer(context, { address: ANY_PORT, services: [entry] }), TypeError);
    const named = await startGrpcServer(context, {
      address: ANY_PORT,
      services: [{ ...entry, fullName: 'keyweave.v1.Named' }],
    });
    assert.ok(named.address.port > 0);
    await named.stop();
  });
});

/** A client that asks for nothing. */
async function* idle(): AsyncGenerator<never> {
  await new Promise(() => undefined);
}

describe('where a service listens', () => {
  it('is where it is dialled, but for the host where one is configured', async () => {
    const plain = await certificates.context(certificates.config(ALICE), 'hybridizer', { hybridizer: 77 });
    assert.deepEqual(listenAddress(plain), { host: '127.0.0.1', port: 77 });
    const services = { hybridizer: { listen_host: '0.0.0.0' } };
    const other = await certificates.context(certificates.config(ALICE, { services }), 'hybridizer', {
      hybridizer: 78,
    });
    assert.deepEqual(listenAddress(other), { host: '0.0.0.0', port: 78 });
  });
});

describe('a connection', () => {
  it('reaches a service by name as by address', async () => {
    const node = await start();
    try {
      for (const host of ['localhost', '127.0.0.1']) {
        const connection = connect({
          context: await node.from('gateway'),
          address: { host, port: node.port },
          nodeUuid: ALICE,
          service: 'hybridizer',
          unreachable: 'SERVICE_UNAVAILABLE',
        });
        assert.equal(
          (await connection.client(HybridizerDefinition).derive({ batches: [] })).batches.length,
          1,
        );
        connection.close();
      }
    } finally {
      await stopped(node.server);
    }
  });

  it('reaches a service over IPv6, and nobody once it is closed', { skip: NO_IPV6 }, async () => {
    const config = certificates.config(ALICE);
    const server = await startGrpcServer(await certificates.context(config, 'hybridizer'), {
      address: { host: '::1', port: 0 },
      services: [],
    });
    const connection = connect({
      context: await certificates.context(config, 'gateway'),
      address: server.address,
      nodeUuid: ALICE,
      service: 'hybridizer',
      unreachable: 'SERVICE_UNAVAILABLE',
    });
    const health = connection.client(HealthDefinition);
    assert.equal((await health.check({})).status, SERVING);
    connection.close();
    await assert.rejects(async () => health.check({}));
    await server.stop();
  });

  it('talks to nobody but the service that it is for', async () => {
    const node = await start();
    try {
      for (const [nodeUuid, service, words] of [
        [ALICE, 'pqc-source', /^KeyweaveError: PEER_UNREACHABLE: pqc-source cannot be reached$/],
        [BOB, 'hybridizer', new RegExp(`PEER_UNREACHABLE: hybridizer of node ${BOB} cannot be reached`)],
      ] as const) {
        const connection = connect({
          context: await node.from('gateway'),
          address: node.server.address,
          nodeUuid,
          service,
          unreachable: 'PEER_UNREACHABLE',
        });
        await assert.rejects(connection.client(HybridizerDefinition).derive({ batches: [] }), words);
        connection.close();
      }
    } finally {
      await stopped(node.server);
    }
  });
});
