import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { freePorts } from './free-ports.ts';

describe('freePorts', () => {
  it('gives different ports below those of outgoing connections, which can be bound', async (t) => {
    const ports = await freePorts('127.0.0.1', 20);
    assert.equal(new Set(ports).size, 20);
    for (const port of ports) {
      assert.ok(port >= 20_000 && port < 32_000, `${port}`);
      const server = createServer().listen(port, '127.0.0.1');
      t.after(() => server.close());
      await once(server, 'listening');
    }
  });

  it('says so where a host is not of this machine', async () => {
    await assert.rejects(freePorts('192.0.2.1', 1), /BAD_CONFIG: no free ports on 192\.0\.2\.1/);
  });
});
