import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { freePorts } from '../../services/cli/free-ports.ts';
import { eventually, type LocalNode, networkFor } from '../helpers/network.ts';

describe('the health port of a whole node', () => {
  it('is ready when all five services are, not while one is started again, and alive all along', async (t) => {
    const [port = 0] = await freePorts('127.0.0.1', 1);
    const network = await networkFor(t, { names: ['Alice'], config: () => ({ health: { port } }) });
    const probe = async (path: string) => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`);
      return `${answer.status} ${(await answer.text()).trim()}`;
    };
    for (const path of ['/livez', '/startupz', '/readyz']) assert.equal(await probe(path), '200 ok', path);
    const alice = network.nodes[0] as LocalNode;
    process.kill(alice.services.hybridizer?.pid as number, 'SIGKILL');
    await eventually('the loss is told', 3000, async () =>
      (await probe('/readyz')) === '503 being started again: hybridizer' ? true : undefined,
    );
    assert.equal(await probe('/livez'), '200 ok');
    await eventually('it is back', 5000, async () =>
      (await probe('/readyz')) === '200 ok' ? true : undefined,
    );
    await network.stop();
    await assert.rejects(probe('/livez'));
  });
});
