import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { CompatServiceDefinition } from 'nice-grpc';
import type { ServiceName } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ownCallers, peerBrokerCallers } from '#common/grpc/callers.ts';
import { connectOwn, type GrpcConnection } from '#common/grpc/client.ts';
import { startGrpcServer } from '#common/grpc/server.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { CloseRequest, KeyAgreementDefinition, ProduceRequest } from '#gen/keyweave/v1/key_agreement.ts';
import { ALICE, BOB, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';
import { connectPeer, PeerClients } from './peer-directory.ts';
import { KEY_AGREEMENT_NAME, METHODS, rawKeyAgreement } from './raw-key-agreement.ts';

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

/** A server of the agreement with the certificate of a service of Bob, which Alice's broker may call. */
async function bobsServer(
  t: TestContext,
  service: ServiceName,
  definition: CompatServiceDefinition,
  handler: (method: string, request: unknown) => unknown,
): Promise<number> {
  const context = await certificates.context(certificates.config(BOB), service);
  const methods = METHODS.map((method) => [method, async (request: unknown) => handler(method, request)]);
  const server = await startGrpcServer(context, {
    address: { host: '127.0.0.1', port: 0 },
    services: [
      {
        fullName: KEY_AGREEMENT_NAME,
        definition,
        implementation: Object.fromEntries(methods),
        callers: peerBrokerCallers(context.config, {
          [ALICE]: { address: { host: '127.0.0.1', port: 1 } },
        }),
      },
    ],
  });
  t.after(() => server.stop());
  return server.address.port;
}

/** Alice's broker, to which Bob is the node at that port, under whatever certificate it shows. */
async function alicesBroker(port: number): Promise<ServiceContext> {
  const context = await certificates.context(certificates.config(ALICE), 'peer-broker');
  const address = { host: '127.0.0.1', port };
  return { ...context, peers: { [BOB]: { address }, [ALICE]: { address } } };
}

function closedAfter(t: TestContext, connection: GrpcConnection): GrpcConnection {
  t.after(() => connection.close());
  return connection;
}

describe('the connection to a peer', () => {
  it('carries bytes of every call as they are, to whoever speaks the agreement', async (t) => {
    const served: [string, unknown][] = [];
    const port = await bobsServer(t, 'peer-broker', KeyAgreementDefinition, (method, request) => {
      served.push([method, request]);
      return {};
    });
    const connection = closedAfter(t, connectPeer(await alicesBroker(port), BOB));
    const client = connection.client(rawKeyAgreement);
    const close = CloseRequest.fromPartial({ keyStreamId: Buffer.alloc(16, 7) });
    assert.equal((await client.close(Buffer.from(CloseRequest.encode(close).finish()))).length, 0);
    assert.deepEqual(served, [['close', close]]);
    for (const method of METHODS) assert.ok(Buffer.isBuffer(await client[method](Buffer.alloc(0))), method);
    assert.deepEqual(
      served.slice(1).map(([method]) => method),
      METHODS,
    );
  });

  it('says that the peer cannot be reached, not a service of the own node', async (t) => {
    const client = closedAfter(t, connectPeer(await alicesBroker(1), BOB)).client(rawKeyAgreement);
    await assert.rejects(
      client.close(Buffer.alloc(0)),
      (error) => isReason(error, 'PEER_UNREACHABLE') && String(error).includes(BOB),
    );
  });

  it('sends nothing to a server that has another certificate than the broker of that node', async (t) => {
    let called = false;
    const port = await bobsServer(t, 'gateway', rawKeyAgreement, () => {
      called = true;
      return Buffer.alloc(0);
    });
    const alice = await alicesBroker(port);
    const client = closedAfter(t, connectPeer(alice, BOB)).client(rawKeyAgreement);
    await assert.rejects(client.close(Buffer.alloc(0)), (error) => isReason(error, 'PEER_UNREACHABLE'));
    assert.equal(called, false);
  });

  it('is made to trusted peers only, and not to the own node', async () => {
    const alice = await alicesBroker(1);
    for (const node of [ALICE, 'cccccccc-cccc-cccc-cccc-cccccccccccc', '__proto__', 'constructor', ''])
      assert.throws(
        () => connectPeer(alice, node),
        (error) => isReason(error, 'NO_ROUTE'),
        node,
      );
  });
});

describe('the service that a broker offers', () => {
  it('gives the relay the bytes that a gateway sends, and the gateway the bytes of the answer', async (t) => {
    const config = certificates.config(ALICE);
    const context = await certificates.context(config, 'peer-broker');
    const seen: Buffer[] = [];
    const echo = async (request: Buffer) => {
      seen.push(request);
      return Buffer.alloc(0);
    };
    const server = await startGrpcServer(context, {
      address: { host: '127.0.0.1', port: 0 },
      services: [
        {
          fullName: KEY_AGREEMENT_NAME,
          definition: rawKeyAgreement,
          implementation: Object.fromEntries(METHODS.map((method) => [method, echo])),
          callers: ownCallers(config, 'peer-broker'),
        },
      ],
    });
    t.after(() => server.stop());
    const gateway = await certificates.context(config, 'gateway', { 'peer-broker': server.address.port });
    const client = closedAfter(t, connectOwn(gateway, 'peer-broker')).client(KeyAgreementDefinition);
    const request = ProduceRequest.fromPartial({ offers: [{ firstIndex: 3, count: 4 }] });
    await client.produce(request);
    assert.deepEqual(ProduceRequest.decode(seen[0] as Buffer), request);
  });
});

describe('PeerClients', () => {
  function peerClients() {
    const made: string[] = [];
    const closed: string[] = [];
    const clients = new PeerClients((peer) => {
      if (peer === 'nobody') throw new Error('no such peer');
      made.push(peer);
      return {
        client: () => ({ peer, nth: made.length }) as never,
        close: () => void closed.push(peer),
      };
    });
    return { clients, made, closed };
  }

  it('makes one connection for each peer when it is first needed', () => {
    const { clients, made } = peerClients();
    assert.deepEqual(made, []);
    const first = clients.of('a');
    assert.deepEqual(first, { peer: 'a', nth: 1 });
    assert.notEqual(clients.of('b'), first);
    assert.equal(clients.of('a'), first);
    assert.deepEqual(made, ['a', 'b']);
  });

  it('remembers nothing of a peer that there is no connection to', () => {
    const { clients, made } = peerClients();
    for (let i = 0; i < 2; i++) assert.throws(() => clients.of('nobody'), /no such peer/);
    clients.close();
    assert.deepEqual(made, []);
  });

  it('forgets one peer, whose next call makes a connection anew', () => {
    const { clients, made, closed } = peerClients();
    const [a, b] = [clients.of('a'), clients.of('b')];
    clients.forget('a');
    clients.forget('a');
    clients.forget('nobody');
    assert.deepEqual(closed, ['a']);
    assert.equal(clients.of('b'), b);
    assert.notEqual(clients.of('a'), a);
    assert.deepEqual(made, ['a', 'b', 'a']);
  });

  it('ends every connection once, and makes new ones afterwards', () => {
    const { clients, made, closed } = peerClients();
    clients.of('a');
    clients.of('b');
    clients.close();
    clients.close();
    assert.deepEqual(closed, ['a', 'b']);
    clients.of('a');
    assert.deepEqual(made, ['a', 'b', 'a']);
  });
});
