import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { createCa } from '#certs/issue.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { eventually, keyOf, type LocalNode, openData, openPair } from '../helpers/network.ts';
import { keyweave, NOTICE_MS, replaceFile, startOperatedNetwork } from '../helpers/operated-network.ts';
import { reloadedAfter, underLoad } from '../helpers/operations.ts';
import { isAlive, servicePid } from '../helpers/proc.ts';

it('a day of an operator, who loses no request that was not meant to be lost', async (t) => {
  // Installed: tests of the package do that from the tarball; started.
  assert.match(await keyweave('--version'), /^\d+\.\d+\.\d+/);
  const network = await startOperatedNetwork({
    names: ['Alice', 'Bob', 'Carol'],
    withKey: () => true,
    caDays: 400,
  });
  t.after(() => network.stop());
  const [alice, bob, carol] = network.nodes as [LocalNode, LocalNode, LocalNode];
  const configOf = (node: LocalNode) => join(node.folder, 'config.json');
  const peersOf = (node: LocalNode) => join(node.folder, 'trusted_peers_info.json');
  const opened = (from: LocalNode, to: LocalNode) =>
    openPair({ ...network, nodes: [from, to] }, openData(from, to, undefined, { timeout: 30_000 }));
  const agrees = async (from: LocalNode, to: LocalNode) => {
    const pair = await opened(from, to);
    assert.deepEqual(keyOf(await pair.a.getKey(pair.ksid)), keyOf(await pair.b.getKey(pair.ksid)));
    await pair.close();
  };
  await agrees(alice, bob);

  await t.test('sees who is who, and issues a certificate for an application', async () => {
    for (const node of [alice, bob, carol]) {
      const { length } =
        (await keyweave('certs', 'show', '--config', configOf(node))).match(/keyweave/g) ?? [];
      assert.ok(length > SERVICE_NAMES.length, node.name);
    }
    const home = network.home('Alice');
    await keyweave(
      'certs',
      'issue-client',
      'billing',
      '--ca',
      join(home, 'ca'),
      '--out',
      join(home, 'clients'),
    );
    const shown = await keyweave('certs', 'show', join(home, 'clients', 'billing.crt'));
    assert.match(shown, /spiffe:\/\/keyweave\/client\/billing/);
  });

  await t.test('renews under load', async () => {
    const { keys, lost } = await underLoad(alice, bob, () =>
      reloadedAfter(network, [alice, bob], async () => {
        for (const node of [alice, bob])
          await keyweave('certs', 'renew', '--force', '--config', configOf(node));
      }),
    );
    assert.deepEqual(lost, []);
    assert.ok(keys > 20, `only ${keys} keys were read`);
  });

  const trusted = readFileSync(peersOf(alice), 'utf8');
  const knows = (what: 'added' | 'removed', times: number) =>
    network.logged(alice, `every service knows who was ${what}`, times * SERVICE_NAMES.length, (line) =>
      Boolean(line.msg === 'trusted peers read again' && line[what] === carol.uuid),
    );

  await t.test('revokes a peer, whose streams end in words, while others are served', async () => {
    const pair = await opened(alice, carol);
    keyOf(await pair.a.getKey(pair.ksid));
    const { keys, lost } = await underLoad(alice, bob, async () => {
      const { [carol.uuid]: _carol, ...others } = JSON.parse(trusted);
      replaceFile(peersOf(alice), JSON.stringify(others));
      const answer = await eventually('the stream ends', NOTICE_MS, async () => {
        const got = await pair.a.getKey(pair.ksid);
        return got.status === 0 ? undefined : got;
      });
      assert.match(answer.message, new RegExp(`node ${carol.uuid} is not among this node's trusted peers`));
      await knows('removed', 1);
    });
    await pair.close();
    assert.deepEqual(lost, []);
    assert.ok(keys > 5, `only ${keys} keys were read`);
  });

  await t.test('adds a peer', async () => {
    replaceFile(peersOf(alice), trusted);
    await knows('added', 1);
    await agrees(alice, carol);
    await agrees(carol, alice);
  });

  await t.test('replaces the CA under load', async () => {
    const nodes = [alice, bob, carol];
    const oldCa = readFileSync(join(network.home('Alice'), 'ca', 'ca.crt'), 'utf8');
    const newCa = await createCa({ network: 'keyweave', days: 400 });
    const trust = (...cas: string[]) => {
      for (const { name } of nodes) replaceFile(join(network.home(name), 'ca', 'ca.crt'), cas.join('\n'));
    };
    const { keys, lost } = await underLoad(alice, bob, async () => {
      await reloadedAfter(network, nodes, () => trust(oldCa, newCa.certificate));
      await reloadedAfter(network, nodes, async () => {
        for (const node of nodes) {
          replaceFile(join(network.home(node.name), 'ca', 'ca.key'), newCa.key);
          await keyweave('certs', 'renew', '--config', configOf(node));
        }
      });
      await reloadedAfter(network, nodes, () => trust(newCa.certificate));
    });
    assert.deepEqual(lost, []);
    assert.ok(keys > 20, `only ${keys} keys were read`);
    await agrees(bob, carol);
  });

  const again = (node: LocalNode, service: string) => {
    const before = network.log(node).filter(isBack(service)).length;
    process.kill(servicePid(node.process.pid, service as never), 'SIGTERM');
    return network.logged(node, `${service} is back`, before + 1, isBack(service));
  };

  await t.test('starts each service anew, one at a time, under load', async () => {
    const { keys, lost } = await underLoad(alice, bob, async () => {
      for (const node of [alice, bob])
        for (const service of ['qkd-source', 'pqc-source', 'hybridizer', 'peer-broker'])
          await again(node, service);
    });
    // While a service is away for longer than requests wait, they are told so; the streams go on. A busy machine
    // may take that long, and then what is told last is the loss of step that qkd-source leaves behind.
    for (const answer of lost)
      assert.match(
        answer,
        /^(1: (qkd-source|pqc-source|hybridizer|peer-broker)( of node [0-9a-f-]+)? cannot be reached|6: QKD epoch \d+ has been left)$/,
      );
    assert.ok(keys > 20, `only ${keys} keys were read`);
  });

  await t.test('starts a gateway anew, which ends its streams and no others', async () => {
    const pair = await opened(alice, carol);
    const { lost } = await underLoad(alice, bob, () => again(carol, 'gateway').then(() => undefined));
    assert.deepEqual(lost, []);
    const answer = await eventually('the stream ends at the other end', NOTICE_MS, async () => {
      const got = await pair.a.getKey(pair.ksid);
      return got.status === 0 ? undefined : got;
    });
    assert.notEqual(answer.message, '');
    await pair.close().catch(() => undefined);
    await agrees(alice, carol);
  });

  await t.test('reads the log, which tells the day and no failure, and stops', async () => {
    const lines = network.log(bob);
    assert.deepEqual(
      lines.filter(({ level }) => level === 'error'),
      [],
    );
    for (const msg of ['a stream was opened', 'certificate reloaded', 'a service is back'])
      assert.ok(
        lines.some((line) => line.msg.includes(msg)),
        msg,
      );
    const pids = network.nodes.flatMap(({ process: { pid } }) => [
      pid as number,
      ...SERVICE_NAMES.map((name) => servicePid(pid, name)),
    ]);
    assert.equal(pids.filter(isAlive).length, 18);
    await network.stop();
    assert.deepEqual(pids.filter(isAlive), []);
    assert.ok(!existsSync(network.folder));
  });
});

const isBack =
  (service: string) =>
  ({ msg, name }: { msg: string; name?: unknown }) =>
    msg === 'a service is back' && name === service;
