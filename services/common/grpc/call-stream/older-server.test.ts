import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createServer, ServerError, Status } from 'nice-grpc';
import { isReason } from '#common/errors/keyweave-error.ts';
import { authorizationInterceptor } from '#common/grpc/authorization.ts';
import { ownCallers } from '#common/grpc/callers.ts';
import { connectOwn } from '#common/grpc/client.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

describe('a server without streams of calls', () => {
  for (const [why, denies] of [
    ['does not know the method', false],
    ['has no list of callers for it', true],
  ] as const) {
    it(`is called as ever where it ${why}`, async (t) => {
      const config = certificates.config(ALICE, {});
      const context = await certificates.context(config, 'hybridizer');
      // As every server of ours looks at its callers, and as those of before looked at all of theirs.
      const authorization = authorizationInterceptor({
        callers: new Map([[HybridizerDefinition.fullName, ownCallers(config, 'hybridizer')]]),
        trust: () => context.identity.trust,
        refusals: { line: () => undefined },
        wallNow: Date.now,
      });
      const server = createServer(denies ? { interceptors: [authorization] } : {});
      const asked: number[] = [];
      server.add(HybridizerDefinition, {
        derive: async ({ batches }) => {
          asked.push(batches.length);
          if (batches.length > 0) throw new ServerError(Status.RESOURCE_EXHAUSTED, 'too much');
          return { batches: [] };
        },
      });
      const hybridizer = await server.listen('127.0.0.1:0', context.identity.serverCredentials());
      t.after(() => server.forceShutdown());
      const connection = connectOwn(
        await certificates.context(config, 'gateway', { hybridizer }),
        'hybridizer',
      );
      t.after(() => connection.close());
      const client = connection.client(HybridizerDefinition);
      assert.deepEqual(await Promise.all([client.derive({}), client.derive({})]), [
        { batches: [] },
        { batches: [] },
      ]);
      await assert.rejects(client.derive({ batches: [{}] }), (error) => isReason(error, 'LIMIT_EXCEEDED'));
      assert.deepEqual(asked, [0, 0, 1]);
    });
  }
});
