import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { startControlServer } from './control-server.ts';
import type { KmeSimulator } from './kme-simulator.ts';

/** A control port before a simulator that only notes what it is told. */
async function control(t: TestContext) {
  const told: unknown[] = [];
  const simulator = {
    hasEnd: (end: number) => end < 2,
    setFault: (...fault: unknown[]) => void told.push(fault),
    state: () => ({ streams: told.length }),
  } as unknown as KmeSimulator;
  const server = await startControlServer(simulator, { host: '127.0.0.1', port: 0 });
  t.after(() => server.stop());
  const base = `http://127.0.0.1:${server.address.port}`;
  const post = async (body: string) => {
    const response = await fetch(`${base}/fault`, { method: 'POST', body });
    return { code: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  return { told, server, simulator, base, post };
}

describe('the control port', () => {
  it('tells the state, and sets and heals faults', async (t) => {
    const { told, base, post } = await control(t);
    assert.deepEqual(await (await fetch(`${base}/state`)).json(), { streams: 0 });
    assert.deepEqual(await post('{"end":1,"kind":"hang","times":2}'), { code: 200, body: { streams: 1 } });
    await post('{"end":0,"kind":null}');
    assert.deepEqual(told, [
      [1, 'hang', 2],
      [0, undefined, undefined],
    ]);
  });

  it('refuses what is senseless, in words, and changes nothing', async (t) => {
    const { told, base, post } = await control(t);
    for (const [body, words] of [
      ['{"end":2,"kind":"hang"}', /no end 2/],
      ['{"end":-1,"kind":"hang"}', /end/],
      ['{"end":0,"kind":"explode"}', /kind/],
      ['{"end":0,"kind":"hang","times":0}', /times/],
      ['{"end":0,"kind":"hang","more":1}', /more/],
      ['no JSON', /expected object/],
      [`{"end":0,"kind":"hang"}${' '.repeat(5000)}`, /expected object/],
    ] as const) {
      const answer = await post(body);
      assert.equal(answer.code, 400, body);
      assert.match(String(answer.body.message), words);
    }
    for (const [path, method] of [
      ['/', 'GET'],
      ['/fault', 'GET'],
      ['/state', 'POST'],
    ] as const)
      assert.equal((await fetch(`${base}${path}`, { method })).status, 404, path);
    assert.deepEqual(told, []);
  });

  it('outlives a request that is cut off', async (t) => {
    const { server, post } = await control(t);
    const socket = connect(server.address.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('POST /fault HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"end"');
    await new Promise((resolve) => setImmediate(resolve));
    socket.destroy();
    assert.equal((await post('{"end":0,"kind":"drop"}')).code, 200);
  });

  it('says so when its address is taken', async (t) => {
    const { server, simulator } = await control(t);
    await assert.rejects(startControlServer(simulator, server.address), (error) =>
      isReason(error, 'BAD_CONFIG'),
    );
  });
});
