import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';
import { startGateway } from './main.ts';

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

/** A server on a port of its own, and what frees it again. */
async function taken(port = 0) {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as { port: number };
  return { port: address.port, free: () => new Promise((resolve) => server.close(resolve)) };
}

describe('startGateway', () => {
  it('stops what it has started where a door cannot be opened', async () => {
    const [door, grpc] = [await taken(), await taken()];
    await grpc.free();
    const config = certificates.config(ALICE, {
      hybridization_server_address: { host: '127.0.0.1', port: door.port },
    });
    const context = () => certificates.context(config, 'gateway', { gateway: grpc.port });
    await assert.rejects(startGateway(await context()), (error) => isReason(error, 'BAD_CONFIG'));
    // Nothing listens there any more, or this is refused.
    await (await taken(grpc.port)).free();
    await door.free();
    const running = await startGateway(await context());
    assert.equal(running.listening.grpc?.port, grpc.port);
    assert.equal(running.listening.json?.port, door.port);
    await running.stop();
    await (await taken(grpc.port)).free();
    await (await taken(door.port)).free();
  });
});
