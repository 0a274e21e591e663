import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import type { LocalNode } from '../helpers/network.ts';
import { eventually, keyOf, networkFor, openData, openPair } from '../helpers/network.ts';

const servicePids = (node: LocalNode) => Object.values(node.services).map(({ pid }) => pid);

/** To every process of a node, as a terminal or a service manager does; the supervisor is the last to hear. */
function signalGroup(node: LocalNode, signal: NodeJS.Signals): void {
  for (const pid of [...servicePids(node), node.process.pid as number]) process.kill(pid, signal);
}

/** The lines of a JSON log. */
function linesOf(path: string): { level: string; service: string; msg: string }[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

describe('an ordinary stop', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`by ${signal} to all processes of a node logs no error, and no warning`, async (t) => {
      const network = await networkFor(t, { names: ['Alice', 'Bob'] });
      const [alice, bob] = network.nodes as [LocalNode, LocalNode];
      const pair = await openPair(network, openData(alice, bob));
      keyOf(await pair.a.getKey(pair.ksid));
      keyOf(await pair.b.getKey(pair.ksid));
      signalGroup(alice, signal);
      const [code] = await once(alice.process, 'exit');
      assert.equal(code, 0);
      const lines = linesOf(join(alice.folder, 'hybrid.log'));
      assert.deepEqual(
        lines.filter(({ level }) => level === 'error' || level === 'warning'),
        [],
      );
      // All of them took their leave, the gateway first: it tells the peers, and needs the others for it.
      const stopped = lines.filter(({ msg }) => msg === 'stopping').map(({ service }) => service);
      assert.deepEqual(stopped.slice(0, 2), ['node', 'gateway']);
      assert.deepEqual(stopped.toSorted(), [...SERVICE_NAMES, 'node'].toSorted());
      assert.equal(lines.at(-1)?.msg, 'the node has stopped');
      // What both ends had confirmed is still there to be read.
      const closed = await eventually('the other end was told', 5_000, async () => {
        const { status } = await pair.b.getKey(pair.ksid);
        return status === 0 ? undefined : status;
      });
      assert.equal(closed, 3);
    });
  }

  it('of one service by hand is no error either: it is started again', async (t) => {
    const network = await networkFor(t, { names: ['Alice'] });
    const alice = network.nodes[0] as LocalNode;
    process.kill(alice.services.hybridizer?.pid as number, 'SIGTERM');
    const file = join(alice.folder, 'hybrid.log');
    await eventually('it is back', 10_000, async () =>
      linesOf(file).some(({ msg }) => msg === 'a service is back') ? true : undefined,
    );
    const told = linesOf(file).filter(({ level }) => level === 'error' || level === 'warning');
    assert.deepEqual(
      told.map(({ msg }) => msg),
      ['a service was told to stop and is started again'],
    );
  });
});

describe('a signal to a service whose supervisor hangs', () => {
  it('stops it none the less, when it has waited for the word in vain', async (t) => {
    const network = await networkFor(t, {
      names: ['Alice'],
      config: () => ({ limits: { shutdown_grace: '100ms' } }),
    });
    const alice = network.nodes[0] as LocalNode;
    const pid = alice.services.hybridizer?.pid as number;
    alice.process.kill('SIGSTOP');
    try {
      process.kill(pid, 'SIGTERM');
      await eventually('it has ended', 20_000, async () =>
        / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')) ? true : undefined,
      );
    } finally {
      alice.process.kill('SIGCONT');
    }
  });
});

describe('SIGHUP', () => {
  it('has all six processes go on in a new log file, whoever gets it, and ends none of them', async (t) => {
    const network = await networkFor(t, { names: ['Alice'] });
    const alice = network.nodes[0] as LocalNode;
    const file = join(alice.folder, 'hybrid.log');
    const reopened = () =>
      linesOf(file)
        .filter(({ msg }) => msg === 'the log file was opened anew')
        .map(({ service }) => service);
    const everybody = [...SERVICE_NAMES, 'node'].toSorted();

    renameSync(file, `${file}.1`);
    alice.process.kill('SIGHUP');
    await eventually('all six write to the new file', 5_000, async () =>
      reopened().length >= 6 ? true : undefined,
    );
    assert.deepEqual(reopened().toSorted(), everybody);

    renameSync(file, `${file}.2`);
    const gateway = alice.services.gateway?.pid as number;
    process.kill(gateway, 'SIGHUP');
    await eventually('the gateway alone does', 5_000, async () => (reopened().length > 0 ? true : undefined));
    assert.deepEqual(reopened(), ['gateway']);

    signalGroup(alice, 'SIGHUP');
    await eventually('all six do again', 5_000, async () =>
      new Set(reopened()).size === 6 ? true : undefined,
    );
    for (const pid of servicePids(alice)) process.kill(pid, 0);
    assert.equal(alice.process.exitCode, null);
    assert.ok(!linesOf(`${file}.1`).some(({ level }) => level === 'error'));
  });
});

describe('the console', () => {
  it('is one JSON object a line where that is configured, and has no colours in a pipe', async (t) => {
    const printed: Record<string, string[]> = { Alice: [], Bob: [] };
    const format = (name: string) => (name === 'Alice' ? 'json' : 'text');
    const network = await networkFor(t, {
      names: ['Alice', 'Bob'],
      config: (name) => ({ logging_config: { console_log_type: 'info', console_format: format(name) } }),
      onLog: (node, line) => printed[node]?.push(line),
    });
    await network.stop();
    const { Alice = [], Bob = [] } = printed;
    const services = new Set<string>();
    for (const line of Alice) {
      const { level, time, service, msg } = JSON.parse(line);
      assert.ok(['info', 'warning'].includes(level), line);
      assert.ok(Date.parse(time) > 0 && msg.length > 0, line);
      services.add(service);
    }
    assert.deepEqual([...services].toSorted(), [...SERVICE_NAMES, 'node'].toSorted());
    assert.ok(Bob.length > 10);
    for (const line of Bob) assert.match(line, /^\d{4}-\S+ (INFO|WARNING) +\[/, JSON.stringify(line));
  });

  it('whose reader has gone ends no process', async (t) => {
    const network = await networkFor(t, {
      names: ['Alice'],
      config: (name) => ({
        logging_config: {
          console_log_type: 'info',
          file_log_type: 'info',
          filename: join(tmpdir(), `keyweave-${process.pid}-${name}.log`),
        },
      }),
    });
    const file = join(tmpdir(), `keyweave-${process.pid}-Alice.log`);
    t.after(() => rmSync(file, { force: true }));
    const alice = network.nodes[0] as LocalNode;
    const closed = once(alice.process.stderr as Readable, 'close');
    alice.process.stderr?.destroy();
    await closed;
    // Twice: a process hears of the first line's failure when it writes the next.
    for (const times of [1, 2]) {
      alice.process.kill('SIGHUP');
      await eventually('all six have logged a line', 5_000, async () =>
        linesOf(file).filter(({ msg }) => msg === 'the log file was opened anew').length >= 6 * times
          ? true
          : undefined,
      );
    }
    for (const pid of servicePids(alice)) process.kill(pid, 0);
    assert.equal(alice.process.exitCode, null);
  });
});
