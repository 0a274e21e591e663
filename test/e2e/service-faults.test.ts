import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { eventually, keyOf, type LocalNode, openData, openPair, twoNodes } from '../helpers/network.ts';
import { cpuMs, servicePid } from '../helpers/proc.ts';

const { network, alice, bob } = await twoNodes();

describe('kill -9 of a service, mid-stream', () => {
  for (const side of [0, 1]) {
    for (const service of ['qkd-source', 'pqc-source', 'hybridizer', 'peer-broker'] as const) {
      it(`${service} of end ${side}: an answer in time, and the same stream again within 5 s`, async () => {
        const node = [alice, bob][side] as LocalNode;
        const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 2000 }));
        const keys = [new Map<number, string>(), new Map<number, string>()] as const;
        let last = '';
        const ask = async () => {
          const started = Date.now();
          const answers = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
          assert.ok(Date.now() - started < 2500, 'no answer in time');
          for (const [end, answer] of answers.entries()) {
            if (answer.status === 0) keys[end]?.set(answer.index as number, keyOf(answer).toString('hex'));
          }
          last = answers.map(({ status, message }) => `${status} ${message}`).join(' / ');
          return answers.every((answer) => answer.status === 0);
        };
        for (let i = 0; i < 5; i++) assert.ok(await ask(), last);
        process.kill(servicePid(node.process.pid, service), 'SIGKILL');
        for (let i = 0; i < 3; i++) await ask();
        await eventually('both ends deliver again', 5000, async () => ((await ask()) ? true : undefined));
        for (let i = 0; i < 20; i++) assert.ok(await ask(), last);
        for (const [index, key] of keys[0]) if (keys[1].has(index)) assert.equal(keys[1].get(index), key);
        await pair.close();
      });
    }

    it(`gateway of end ${side}: the other end gets an answer in time, and new streams open within 5 s`, async () => {
      const node = [alice, bob][side] as LocalNode;
      const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 1500 }));
      keyOf(await pair.a.getKey(pair.ksid));
      process.kill(servicePid(node.process.pid, 'gateway'), 'SIGKILL');
      const survivor = side === 0 ? pair.b : pair.a;
      let last = 0;
      for (let i = 0; i < 200 && last === 0; i++) {
        const started = Date.now();
        last = (await survivor.getKey(pair.ksid)).status;
        assert.ok(Date.now() - started < 2500, 'no answer in time');
      }
      assert.ok([1, 3, 6].includes(last), `status ${last}`);
      await eventually('a new stream delivers', 5000, async () => {
        const next = await openPair(network, openData(alice, bob, undefined, { timeout: 1000 }));
        const [a, b] = await Promise.all([next.a.getKey(next.ksid), next.b.getKey(next.ksid)]);
        assert.deepEqual(keyOf(a), keyOf(b));
        await next.close();
        return true;
      });
      await pair.close().catch(() => undefined);
    });
  }

  it('does not spin while the peer is away', async () => {
    const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 500 }));
    keyOf(await pair.a.getKey(pair.ksid));
    process.kill(bob.process.pid as number, 'SIGSTOP');
    const broker = servicePid(bob.process.pid, 'peer-broker');
    process.kill(broker, 'SIGSTOP');
    try {
      const pids = SERVICE_NAMES.map((name) => servicePid(alice.process.pid, name));
      const before = pids.map(cpuMs);
      const started = Date.now();
      for (let i = 0; i < 6; i++) await pair.a.getKey(pair.ksid);
      while (Date.now() - started < 3000) await new Promise((resolve) => setTimeout(resolve, 100));
      const used = pids.map((pid, i) => cpuMs(pid) - (before[i] ?? 0));
      assert.ok(used.reduce((sum, ms) => sum + ms, 0) < 1000, `CPU ms in 3 s: ${used}`);
    } finally {
      process.kill(broker, 'SIGCONT');
      process.kill(bob.process.pid as number, 'SIGCONT');
    }
    await pair.close();
  });
});
