import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client, type ServiceError } from '@grpc/grpc-js';
import { CALLER_METADATA } from '#common/grpc/callers.ts';
import { connectOwn } from '#common/grpc/client.ts';
import { startGrpcServer } from '#common/grpc/server.ts';
import { serviceCheck } from '#common/grpc/service-check.ts';
import { healthService, MAX_WATCHES } from '#common/service/health.ts';
import { Readiness } from '#common/service/readiness.ts';
import { spiffeId } from '#common/tls/spiffe.ts';
import { HealthCheckResponse_ServingStatus, HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';

const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;
const HYBRIDIZER = 'keyweave.v1.Hybridizer';

/** The service alone, whose readiness and callers a test makes up. */
function alone() {
  const problems: string[] = [];
  const stopping = new AbortController();
  const service = healthService({
    names: [HYBRIDIZER],
    readiness: { problems: async () => problems },
    stopping: stopping.signal,
    watchIntervalMs: 1,
  });
  const watch = (name: string, caller = 'a', signal = stopping.signal) =>
    service
      .watch({ service: name }, { metadata: new Map([[CALLER_METADATA, caller]]), signal } as never)
      [Symbol.asyncIterator]();
  return { problems, stopping, service, watch };
}

describe('the health of a service', () => {
  it('is serving while nothing is missing, and not from its stop on, under each name that there is', async () => {
    const { problems, stopping, service } = alone();
    const seen = async () => {
      const [whole, named, { statuses = {} }] = await Promise.all([
        service.check({ service: '' }, {} as never),
        service.check({ service: HYBRIDIZER }, {} as never),
        service.list({}, {} as never),
      ]);
      assert.deepEqual(Object.keys(statuses), ['', HYBRIDIZER]);
      return [whole.status, named.status, ...Object.values(statuses).map((one) => one?.status)];
    };
    assert.deepEqual(await seen(), [SERVING, SERVING, SERVING, SERVING]);
    problems.push('a certificate has expired');
    assert.deepEqual(await seen(), [NOT_SERVING, NOT_SERVING, NOT_SERVING, NOT_SERVING]);
    problems.pop();
    stopping.abort();
    assert.deepEqual(await seen(), [NOT_SERVING, NOT_SERVING, NOT_SERVING, NOT_SERVING]);
  });

  it('is not known of a service that is not there', async () => {
    const { service, watch, stopping } = alone();
    await assert.rejects(service.check({ service: 'keyweave.v1.Nobody' }, {} as never), {
      reason: 'UNKNOWN_SERVICE',
      detail: `this server has no service of that name; it has ${HYBRIDIZER}`,
    });
    const watching = watch('keyweave.v1.Nobody');
    assert.deepEqual((await watching.next()).value, { status: SERVICE_UNKNOWN });
    const next = watching.next();
    stopping.abort();
    assert.equal((await next).done, true);
  });

  it('is told to who watches at each change, and last when the stop begins', async () => {
    const { problems, stopping, watch } = alone();
    const watching = watch('');
    const statuses: unknown[] = [(await watching.next()).value];
    problems.push('x');
    statuses.push((await watching.next()).value);
    problems.pop();
    statuses.push((await watching.next()).value);
    const next = watching.next();
    stopping.abort();
    statuses.push((await next).value);
    assert.deepEqual(statuses, [
      { status: SERVING },
      { status: NOT_SERVING },
      { status: SERVING },
      { status: NOT_SERVING },
    ]);
    assert.equal((await watching.next()).done, true);
  });

  it('may be watched so many times at once by each caller, not more', async () => {
    const { watch } = alone();
    const gone = new AbortController();
    const open = Array.from({ length: MAX_WATCHES }, () => watch('', 'a', gone.signal));
    for (const one of open) await one.next();
    await assert.rejects(watch('').next(), { reason: 'LIMIT_EXCEEDED' });
    assert.equal((await watch('', 'b').next()).done, false, 'another caller was refused, too');
    const last = open.map((one) => one.next());
    gone.abort();
    await Promise.all(last);
    for (const one of open) await one.next();
    assert.equal((await watch('').next()).done, false, 'a watch that has ended still counts');
  });
});

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

describe('over the wire', () => {
  async function serve(readiness = new Readiness()) {
    const config = certificates.config(ALICE);
    const context = { ...(await certificates.context(config, 'hybridizer')), readiness };
    const server = await startGrpcServer(context, { address: { host: '127.0.0.1', port: 0 }, services: [] });
    const caller = await certificates.context(config, 'gateway', { hybridizer: server.address.port });
    return { server, caller, readiness };
  }

  it('is what any probe of the standard asks for and understands, byte by byte', async () => {
    const { server, caller, readiness } = await serve();
    const probe = new Client(
      `127.0.0.1:${server.address.port}`,
      caller.identity.channelCredentials(spiffeId('keyweave', ALICE, 'hybridizer')),
      { 'grpc.ssl_target_name_override': 'hybridizer' },
    );
    const ask = (request: string) =>
      new Promise<string | number | undefined>((resolve) => {
        probe.makeUnaryRequest(
          '/grpc.health.v1.Health/Check',
          (hex: string) => Buffer.from(hex, 'hex'),
          (bytes: Buffer) => bytes.toString('hex'),
          request,
          (error: ServiceError | null, answer?: string) => resolve(error?.code ?? answer),
        );
      });
    // Field 1 of the answer is the status: 1 serving, 2 not serving. 5 is NOT_FOUND.
    assert.equal(await ask(''), '0802');
    readiness.started();
    assert.equal(await ask(''), '0801');
    assert.equal(await ask(`0a01${Buffer.from('x').toString('hex')}`), 5);
    probe.close();
    await server.stop();
  });

  it('a watch ends with the stop of the server, and does not hold it up', { timeout: 4_000 }, async () => {
    const { server, caller, readiness } = await serve();
    readiness.started();
    const connection = connectOwn(caller, 'hybridizer');
    const statuses: number[] = [];
    let stopped: Promise<void> | undefined;
    const watching = connection.client(HealthDefinition).watch({}, { timeoutMs: Number.POSITIVE_INFINITY });
    for await (const { status } of watching) {
      statuses.push(status);
      stopped ??= server.stop();
    }
    await stopped;
    connection.close();
    assert.deepEqual(statuses, [SERVING, NOT_SERVING]);
  });

  it('says of a service that another leans on whether it is there and serves, asking once a second at most', async () => {
    const { server, caller, readiness } = await serve();
    const connection = connectOwn(caller, 'hybridizer');
    let now = 0;
    const check = serviceCheck(connection, () => now);
    assert.equal(await check(), 'says that it is not ready');
    readiness.started();
    now = 999;
    assert.equal(await check(), 'says that it is not ready', 'it was called again within a second');
    now = 1_000;
    assert.equal(await check(), undefined);
    await server.stop();
    now = 2_000;
    assert.equal(await check(), 'cannot be reached');
    connection.close();
  });
});
