import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import type { LocalNode } from '../helpers/network.ts';
import { eventually, keyOf, openData, openPair } from '../helpers/network.ts';
import { type NodeClock, startNodeClock } from '../helpers/node-clock.ts';
import {
  keyweave,
  NOTICE_MS,
  type OperatedNetwork,
  startOperatedNetwork,
} from '../helpers/operated-network.ts';

const DAY_MS = 86_400_000;
/** Of the certificates that a node issues for itself. */
const LIFE_DAYS = 90;
/** How long ago the nodes have started, by their own clocks. */
const STARTED_DAYS = 62;

/** Days from now on to the end of the certificates of the start. */
const LEFT_DAYS = LIFE_DAYS - STARTED_DAYS;

let clock: NodeClock;
let network: OperatedNetwork;
let alice: LocalNode;
let bob: LocalNode;
let health: Record<string, number>;

before(async () => {
  clock = startNodeClock();
  clock.set(-STARTED_DAYS * DAY_MS);
  const [one = 0, two = 0] = await freePorts('127.0.0.1', 2);
  health = { Alice: one, Bob: two };
  network = await startOperatedNetwork({
    names: ['Alice', 'Bob'],
    withKey: (name) => name === 'Alice',
    caMadeMs: Date.now() - 100 * DAY_MS,
    caDays: 400,
    config: (name) => ({ health: { port: health[name] } }),
  });
  [alice, bob] = network.nodes as [LocalNode, LocalNode];
});
after(async () => {
  await network?.stop();
  clock.stop();
});

/** When a service's certificate ends, in days from now. */
function endOf(node: LocalNode, base: string): number {
  const pem = readFileSync(join(network.home(node.name), 'certs', `${base}.crt`));
  return (new X509Certificate(pem).validToDate.getTime() - Date.now()) / DAY_MS;
}

const BASES = SERVICE_NAMES.map((name) => (name === 'peer-broker' ? 'node' : name));

async function ready(node: LocalNode): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${health[node.name]}/readyz`);
  return `${answer.status} ${(await answer.text()).trim()}`;
}

/** Lines of a node about certificates that end, by what they say. */
const endingLines = (node: LocalNode, text: string) =>
  network.log(node).filter(({ msg }) => msg.startsWith(`a certificate ${text}`));

describe('certificates that come to their end while nodes run', () => {
  it('are renewed at a third of their life where the key lies beside the CA, and nowhere else', async () => {
    assert.ok(Math.abs(endOf(alice, 'node') - LEFT_DAYS) < 1);
    clock.set(0);
    await network.logged(alice, 'all are renewed', SERVICE_NAMES.length, ({ msg }) =>
      msg.startsWith('renewed a certificate'),
    );
    await network.logged(alice, 'all are loaded', SERVICE_NAMES.length, ({ msg }) =>
      msg.startsWith('certificate reloaded'),
    );
    for (const base of BASES) {
      assert.ok(
        Math.abs(endOf(alice, base) - LIFE_DAYS) < 1,
        `${base} of Alice ends in ${endOf(alice, base)}`,
      );
      assert.ok(Math.abs(endOf(bob, base) - LEFT_DAYS) < 1, `${base} of Bob ends in ${endOf(bob, base)}`);
    }
    assert.deepEqual(endingLines(bob, 'ends'), [], 'more than a quarter is left');
    const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 30_000 }));
    assert.deepEqual(keyOf(await pair.a.getKey(pair.ksid)), keyOf(await pair.b.getKey(pair.ksid)));
    await pair.close();
  });

  it('are told: a line each at a quarter of their life, an error in the last day', async () => {
    clock.set((LEFT_DAYS - LIFE_DAYS / 4 + 0.5) * DAY_MS);
    const warned = await network.logged(bob, 'the warnings', SERVICE_NAMES.length, ({ msg, level }) =>
      Boolean(msg.startsWith('a certificate ends soon') && level === 'warning'),
    );
    assert.equal(warned.length, SERVICE_NAMES.length);
    const owners = warned.map(({ of }) => of).sort();
    const expected = SERVICE_NAMES.map((name) => `spiffe://keyweave/node/${bob.uuid}/${name}`).sort();
    assert.deepEqual(owners, expected);
    assert.equal(await ready(bob), '200 ok');

    clock.set((LEFT_DAYS - 0.5) * DAY_MS);
    const errors = await network.logged(bob, 'the errors', SERVICE_NAMES.length, ({ msg, level }) =>
      Boolean(msg.startsWith('a certificate ends within a day') && level === 'error'),
    );
    assert.equal(errors.length, SERVICE_NAMES.length);
    assert.equal(await ready(bob), '200 ok');
    assert.equal(
      endingLines(bob, 'ends soon').length,
      SERVICE_NAMES.length,
      'told again before a day is over',
    );
    assert.deepEqual(endingLines(alice, 'ends'), [], 'she has renewed hers');
  });

  it('fail /readyz, which names one, and check-config, once they are over', async () => {
    clock.set((LEFT_DAYS + 1) * DAY_MS);
    const problem = await eventually('Bob is not ready', NOTICE_MS, async () => {
      const answer = await ready(bob);
      return answer === '200 ok' ? undefined : answer;
    });
    assert.match(
      problem,
      /^503 .*certificates: \S+\.crt: the certificate of spiffe:\/\/keyweave\/node\/b{8}-\S+ expired on 2\d{3}-/s,
    );
    assert.equal(await ready(alice), '200 ok');
    await network.logged(bob, 'the errors', SERVICE_NAMES.length, ({ msg, level }) =>
      Boolean(msg.startsWith('a certificate is out of date') && level === 'error'),
    );
    await assert.rejects(keyweave('check-config', bob.folder), (error: { stderr?: string }) => {
      assert.match(error.stderr ?? '', /\.crt: the certificate of spiffe:\S+ expired on/);
      return true;
    });
    await keyweave('check-config', alice.folder);
  });
});
