import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
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

  it('gives none that another draw has given, of this process or another that lives', async () => {
    const script = (from: number) =>
      `import { freePorts } from '${import.meta.resolve('./free-ports.ts')}';
       process.stdout.write(JSON.stringify(await freePorts('127.0.0.1', 3, [${from}, ${from + 8}])));`;
    const [from = 0] = await freePorts('127.0.0.1', 1, [10_000, 19_000]);
    const range = [from, from + 8] as const;
    const own = await freePorts('127.0.0.1', 4, range);
    assert.ok(!own.includes(from));
    const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', script(from)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const others: number[] = JSON.parse(stdout);
    assert.equal(new Set([from, ...own, ...others]).size, 8);
    // The other process has ended, and its ports with it.
    const again = await freePorts('127.0.0.1', 3, range);
    assert.deepEqual(again.toSorted(), others.toSorted());
    await assert.rejects(freePorts('127.0.0.1', 1, range), /no free ports/);
  });

  it('says so where a host is not of this machine', async () => {
    await assert.rejects(freePorts('192.0.2.1', 1), /BAD_CONFIG: no free ports on 192\.0\.2\.1/);
  });
});
