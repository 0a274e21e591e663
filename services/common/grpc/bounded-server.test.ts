import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectH2 } from 'node:http2';
import { after, before, describe, it, type TestContext } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { clientNetwork } from '#common/net/client-network.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';
import { ANYBODY, type GrpcServer, startGrpcServer } from './server.ts';

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

const MANY = 1_000;
const KEPT = 20;
/** Handshakes at once. */
const AT_ONCE = 20;

/** A server of applications, what it warns of, and connections to it. */
async function start(t: TestContext, limits: object) {
  const warnings: string[] = [];
  const config = certificates.config(ALICE, { limits });
  const log = {
    ...{ debug: () => undefined, info: () => undefined, error: () => undefined },
    warning: (message: string, fields: object = {}) =>
      void warnings.push(`${message} ${JSON.stringify(fields)}`),
  };
  const context = await certificates.context(config, 'hybridizer', {}, log);
  const server: GrpcServer = await startGrpcServer(context, {
    address: { host: '127.0.0.1', port: 0 },
    applications: { trusted: context.identity, nameOf: () => 'somebody', setting: 'listeners.grpc' },
    services: [
      { definition: HybridizerDefinition, implementation: { derive: () => ({}) }, callers: ANYBODY },
    ],
  });
  const { cert, key, ca } = context.identity.pems;
  const tls = { cert, key, ca, checkServerIdentity: () => undefined, ALPNProtocols: ['h2'] };
  const open: TLSSocket[] = [];
  const connect = () => {
    const socket = connectTls({ ...server.address, ...tls });
    open.push(socket.on('error', () => undefined));
    return socket.resume();
  };
  const session = (localAddress = '127.0.0.1') => {
    const createConnection = () => connectTls({ ...server.address, ...tls, ...({ localAddress } as object) });
    return connectH2(`https://127.0.0.1:${server.address.port}`, { createConnection });
  };
  t.after(async () => {
    for (const socket of open) socket.destroy();
    await server.stop();
  });
  return { connect, session, warnings };
}

/** Whether it has shown who it is. */
function isSecured(socket: TLSSocket): Promise<boolean> {
  return once(socket, 'secureConnect').then(
    () => true,
    () => false,
  );
}

/** When it has ended, whatever it ended for. */
function ended(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

describe('a gRPC server of applications', () => {
  it('takes no more connections than the node has for a listener', async (t) => {
    const { connect, warnings } = await start(t, { max_connections: 2 });
    for (let i = 0; i < 2; i++) await once(connect(), 'secureConnect');
    await ended(connect());
    assert.match(warnings.join(), /limits\.max_connections is reached .*"setting":"listeners\.grpc"/);
  });

  it('takes so many of one network, and others when one has closed', async (t) => {
    const { connect, warnings } = await start(t, { max_connections_per_network: 2 });
    const [first] = [connect(), connect()];
    await once(first as TLSSocket, 'secureConnect');
    await ended(connect());
    assert.match(warnings.join(), /limits\.max_connections_per_network is reached/);
    assert.match(warnings.join(), new RegExp(`"client":"${clientNetwork('127.0.0.1')}`));
    first?.destroy();
    for (let taken = false; !taken; ) {
      const again = connect();
      taken = await Promise.race([isSecured(again), ended(again).then(() => false)]);
    }
  });

  it(`serves others beside ${MANY} idle connections of one network, of which it keeps its part`, async (t) => {
    const { connect, session } = await start(t, {
      max_connections: 2 * KEPT,
      max_connections_per_network: KEPT,
    });
    const kept: boolean[] = [];
    while (kept.length < MANY) {
      const batch = Array.from({ length: AT_ONCE }, async () => {
        const socket = connect();
        return Promise.race([isSecured(socket), ended(socket).then(() => false)]);
      });
      kept.push(...(await Promise.all(batch)));
    }
    assert.equal(kept.filter(Boolean).length, KEPT);
    await ended(connect());
    const other = session('127.0.0.2');
    await once(other, 'connect');
    await new Promise<void>((resolve, reject) => other.ping((error) => (error ? reject(error) : resolve())));
    other.destroy();
  });

  it('ends a connection that makes no call', async (t) => {
    const { session } = await start(t, { idle_timeout: '200ms' });
    const idle = session();
    await once(idle, 'close');
  });
});
