import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { listen } from '#common/net/listen.ts';

const HERE = { host: '127.0.0.1', port: 0 };

function server(t: TestContext): Server {
  const made = createServer();
  t.after(() => made.close());
  return made;
}

describe('listen', () => {
  it('gives the port that was bound, and leaves later errors to others', async (t) => {
    const made = server(t);
    const { host, port } = await listen(made, HERE);
    assert.equal(host, HERE.host);
    assert.ok(port > 0);
    assert.equal(made.listenerCount('error'), 0);
    await assert.rejects(listen(made, HERE), { code: 'ERR_SERVER_ALREADY_LISTEN' });
  });

  it('says which address cannot be had, or what it is told to, and why', async (t) => {
    const taken = await listen(server(t), HERE);
    for (const [failure, words] of [
      [undefined, `cannot listen on 127.0.0.1:${taken.port}`],
      ['listeners.x: no', 'listeners.x: no'],
    ] as const) {
      await assert.rejects(listen(server(t), taken, failure), (error) => {
        assert.ok(error instanceof KeyweaveError);
        assert.deepEqual([error.reason, error.detail], ['BAD_CONFIG', words]);
        assert.equal((error.cause as NodeJS.ErrnoException).code, 'EADDRINUSE');
        return true;
      });
    }
  });
});
