import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { eventually, keyOf, type LocalNode, openData, twoNodes } from '../helpers/network.ts';
import { servicePid } from '../helpers/proc.ts';

/** Keys that both ends read before a gateway goes, and after the stream is opened anew. */
const KEYS = 30;

const { alice, bob } = await twoNodes();

/** Ends the node's gateway without warning, and gives a connection to the next one. */
async function killGateway(node: LocalNode): Promise<Etsi004Client> {
  const old = servicePid(node.process.pid, 'gateway');
  process.kill(old, 'SIGKILL');
  await eventually('the gateway is back', 10_000, async () =>
    servicePid(node.process.pid, 'gateway') === old ? undefined : true,
  );
  return eventually('the gateway serves', 10_000, () => Etsi004Client.connect(node.json));
}

/** Reads `KEYS` keys at both ends and checks that they are the same from index 0 on. */
async function readBoth(a: Etsi004Client, b: Etsi004Client, ksid: string): Promise<void> {
  for (let i = 0; i < KEYS; i++) {
    const [one, other] = await Promise.all([a.getKey(ksid), b.getKey(ksid)]);
    assert.deepEqual(keyOf(one), keyOf(other));
    assert.deepEqual([one.index, other.index], [i, i]);
  }
}

describe('a predefined KSID that is opened anew after its gateway was killed', () => {
  it('at the initiator: the other application is told at once, opens too, and both get equal keys from 0 on', async () => {
    const data = { ...openData(alice, bob, undefined, { timeout: 5_000 }), key_stream_id: randomUUID() };
    const ksid = data.key_stream_id;
    const [a, b] = await Promise.all([Etsi004Client.connect(alice.json), Etsi004Client.connect(bob.json)]);
    const opened = await Promise.all([a.open(data), b.open(data)]);
    assert.deepEqual([opened[0].status, opened[1].status], [0, 0]);
    await readBoth(a, b, ksid);

    const again = await killGateway(alice);
    const started = Date.now();
    const reopened = again.open(data);
    let slowest = 0;
    const told = await eventually('the other application is told', 4_000, async () => {
      const asked = Date.now();
      const answer = await b.getKey(ksid);
      slowest = Math.max(slowest, Date.now() - asked);
      return answer.status === 0 ? undefined : answer;
    });
    assert.equal(told.status, 3, told.message);
    assert.match(told.message ?? '', /opened this KSID anew; open it again/);
    assert.ok(slowest < 1_000, `a GET_KEY took ${slowest} ms`);

    const joined = await b.open(data);
    assert.equal(joined.status, 0, joined.message);
    assert.equal((await reopened).status, 0);
    await readBoth(again, b, ksid);
    assert.ok(Date.now() - started < 8_000, `took ${Date.now() - started} ms`);
    await Promise.all([again.close(ksid), b.close(ksid)]);
    for (const client of [a, b, again]) client.disconnect();
  });

  it('at the responder: the initiator is told, closes, and both open again', async () => {
    const data = { ...openData(alice, bob, undefined, { timeout: 5_000 }), key_stream_id: randomUUID() };
    const ksid = data.key_stream_id;
    const [a, b] = await Promise.all([Etsi004Client.connect(alice.json), Etsi004Client.connect(bob.json)]);
    await Promise.all([a.open(data), b.open(data)]);
    await readBoth(a, b, ksid);

    const again = await killGateway(bob);
    const waiting = again.open(data);
    const told = await eventually('the initiator is told', 20_000, async () => {
      const answer = await a.getKey(ksid);
      return answer.status === 3 ? answer : undefined;
    });
    assert.match(told.message ?? '', /no longer knows this stream; open a new one/);
    await a.close(ksid);
    const [one, other] = await Promise.all([
      a.open(data),
      waiting.then((answer) => (answer.status === 0 ? answer : again.open(data))),
    ]);
    assert.deepEqual([one.status, other.status], [0, 0], `${one.message} ${other.message}`);
    await readBoth(a, again, ksid);
    for (const client of [a, b, again]) client.disconnect();
  });
});
