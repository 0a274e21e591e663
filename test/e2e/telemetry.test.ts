import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import type { NodeStatus } from '#common/status/node-status.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import { dashboardQueries, firing, metricsIn, RULES } from '../helpers/alert-rules.ts';
import { startCollector } from '../helpers/collector.ts';
import { runCommand } from '../helpers/command.ts';
import { callDenied } from '../helpers/lying-peer.ts';
import {
  eventually,
  keyOf,
  type LocalNode,
  openData,
  openPair,
  stopNode,
  twoNodes,
} from '../helpers/network.ts';
import { findPromtool } from '../helpers/promtool.ts';
import { samplesIn } from '../helpers/telemetry.ts';

const HOUR_MS = 3_600_000;
const SETTLE_MS = 30_000;
const found = findPromtool();
if ('missing' in found) process.stderr.write(`which alerts fire is NOT tested: ${found.missing}\n`);

/** Secrets of this run, and what else no outsider may learn, in every form in which they could have been written. */
const planted: Buffer[] = [];
const plant = (secret: Buffer) =>
  planted.push(
    secret,
    ...(['hex', 'base64', 'base64url'] as const).map((form) =>
      Buffer.from(secret.toString(form).replace(/=+$/, '')),
    ),
  );

const printed: string[] = [];
const audits = mkdtempSync(join(tmpdir(), 'keyweave-audit-'));
after(() => rmSync(audits, { recursive: true }));
const auditOf = (name: string) => join(audits, `${name}.jsonl`);

const collector = await startCollector();
after(() => collector.close());
const ports = await freePorts('127.0.0.1', 2);
const { network, alice, bob } = await twoNodes({
  // An hour is left of two days.
  caMadeMs: Date.now() - 47 * HOUR_MS,
  config: (name) => ({
    health: { port: ports[name === 'Alice' ? 0 : 1] },
    logging_config: { console_log_type: 'debug', colorless_console_log: true },
    policy: { missing_source: 'shared_seed' },
    qkd: { timeout: '300ms' },
    telemetry: {
      traces: { sample_ratio: 1 },
      otlp: { endpoint: collector.endpoint, interval: '1s' },
      audit: { filename: auditOf(name) },
    },
  }),
  onLog: (_node, line) => printed.push(line),
});

const expose = async (node: LocalNode) =>
  (await fetch(`http://127.0.0.1:${ports[network.nodes.indexOf(node)]}/metrics`)).text();
const sample = async (node: LocalNode) => samplesIn(await expose(node));

/** The sum of the samples of a metric whose labels have all of these. */
function sum(samples: ReadonlyMap<string, number>, metric: string, ...labels: string[]): number {
  let total = 0;
  for (const [name, value] of samples)
    if (name.split('{')[0] === metric && labels.every((label) => name.includes(label))) total += value;
  return total;
}

/** Waits until the samples of a node are so; gives them. */
const until = (node: LocalNode, what: string, is: (samples: ReadonlyMap<string, number>) => boolean) =>
  eventually(what, SETTLE_MS, async () => {
    const samples = await sample(node);
    return is(samples) ? samples : undefined;
  });

function assertFires(
  alert: string,
  [earlier, later]: readonly [ReadonlyMap<string, number>, ReadonlyMap<string, number>],
): void {
  if ('missing' in found) return;
  assert.ok(firing(found.path, earlier, later, Date.now() / 1000).includes(alert), `${alert} does not fire`);
}

/** Names of metrics that either node has shown. */
const shown = new Set<string>();
const note = async () => {
  for (const node of network.nodes)
    for (const name of (await sample(node)).keys()) shown.add(name.split('{')[0] ?? '');
};

/** Keys from both ends, until time is over; what was given is a secret of this run. */
async function fetchKeys(count: number, query?: string): Promise<number> {
  const data = openData(alice, bob, query, { timeout: 3000 });
  const pair = await openPair(network, data);
  plant(Buffer.from(pair.ksid));
  plant(Buffer.from(pair.ksid.replaceAll('-', ''), 'hex'));
  plant(Buffer.from(/app-[0-9a-f-]+/.exec(data.source)?.[0] ?? assert.fail()));
  let given = 0;
  for (let i = 0; i < count; i++) {
    for (const answer of await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)])) {
      if (answer.status !== 0) continue;
      plant(keyOf(answer));
      given += 1;
    }
  }
  await pair.close();
  return given;
}

describe('a node with telemetry', () => {
  it('shows the metrics of all its processes at the health port, each once', async () => {
    assert.ok((await fetchKeys(3)) > 0);
    const text = await expose(alice);
    for (const process of ['node', 'gateway', 'qkd-source', 'pqc-source', 'peer-broker', 'hybridizer'])
      assert.match(text, new RegExp(`^process_cpu_seconds_total\\{service_name="${process}"\\} `, 'm'));
    const heads = text.match(/^# TYPE \S+/gm) ?? [];
    assert.equal(new Set(heads).size, heads.length);
    const samples = samplesIn(text);
    assert.equal(sum(samples, 'keyweave_keys_delivered_total', `peer="${bob.uuid}"`), 3);
    assert.equal(sum(samples, 'keyweave_key_mismatches_total'), 0);
    assert.ok(sum(samples, 'keyweave_tls_handshakes_total', 'group="X25519MLKEM768"') > 0);
    await until(alice, 'Bob is up', (now) => sum(now, 'keyweave_peer_up', bob.uuid) === 1);
    await note();
  });

  it('counts a caller that is denied, which fires KeyweaveCallsDenied', async () => {
    const earlier = await sample(alice);
    await callDenied(network, alice);
    const method = 'method="keyweave.v1.KeyAgreement/Close"';
    const later = await until(
      alice,
      'the denial',
      (now) => sum(now, 'keyweave_calls_denied_total', method) === 1,
    );
    assertFires('KeyweaveCallsDenied', [earlier, later]);
  });

  it('counts what a key manager fails to give, which fires KeyweaveSourceStarving', async () => {
    const earlier = await sample(alice);
    for (const fault of ['dry', 'drop', 'refuse'] as const) {
      network.kme.setFault(0, fault);
      await fetchKeys(4, 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD');
      await fetchKeys(1, 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD,ML-KEM-1024');
    }
    const failed = (samples: ReadonlyMap<string, number>) =>
      sum(samples, 'keyweave_source_duration_seconds_count', 'source="QKD"') -
      sum(samples, 'keyweave_source_duration_seconds_count', 'source="QKD"', 'outcome="ok"');
    const later = await until(alice, 'failures of QKD', (now) => failed(now) >= 3);
    network.kme.setFault(0, undefined);
    assert.ok(sum(later, 'keyweave_keys_degraded_total') > 0);
    assertFires('KeyweaveSourceStarving', [earlier, later]);
    assertFires('KeyweaveKeysDegraded', [earlier, later]);
    await fetchKeys(2);
    await note();
  });

  it('counts the indexes of a batch that the other end could read no QKD keys for', async () => {
    const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 5_000 }));
    await eventually('both ends read QKD keys again', SETTLE_MS, async () => {
      const [first] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
      plant(keyOf(first));
      return first.metadata?.buffer.includes('"degraded":false') || undefined;
    });
    network.kme.setFault(1, 'refuse');
    await eventually('a dropped batch', SETTLE_MS, async () => {
      const answer = await pair.a.getKey(pair.ksid);
      if (answer.status === 0) plant(keyOf(answer));
      return sum(await sample(alice), 'keyweave_indexes_burned_total') > 0 || undefined;
    });
    network.kme.setFault(1, undefined);
    await pair.close();
    await note();
  });

  it('tells until when its certificates are good: of a CA in its last hour KeyweaveCertificateEnding fires', async () => {
    const samples = await sample(alice);
    const left = sum(
      samples,
      'keyweave_certificate_not_after_seconds',
      'kind="ca"',
      'service_name="gateway"',
    );
    assert.ok(Math.abs(left - Date.now() / 1000 - 3_600) < 600, `${left}`);
    assertFires('KeyweaveCertificateEnding', [samples, samples]);
  });

  it('is shown by keyweave status, as a table and as JSON', async () => {
    const address = `127.0.0.1:${ports[0]}`;
    const [table, json] = await Promise.all([
      runCommand(['status', '--address', address]),
      runCommand(['status', '--json', '--address', address]),
    ]);
    assert.equal(table.code, 0, table.stderr);
    for (const words of [
      `node ${alice.uuid}`,
      ': ready',
      `${bob.uuid}  up `,
      'ML-KEM-768',
      'gateway.crt',
      'hybridizer ',
    ])
      assert.ok(table.stdout.includes(words), `${words}\n${table.stdout}`);
    const status = JSON.parse(json.stdout) as NodeStatus;
    const [peer] = status.peers;
    assert.equal(peer?.node, bob.uuid);
    assert.equal(peer.isUp, true);
    assert.ok(peer.delivered > 5);
    assert.equal(status.services.length, 5);
    assert.ok(
      status.sources.some(({ source, failures }) => source === 'QKD' && Object.keys(failures).length > 0),
    );
    assert.equal(status.mismatches, 0);
    const nobody = await runCommand(['status', '--address', `127.0.0.1:${alice.json.port}`]);
    assert.equal(nobody.code, 5, nobody.stderr);
  });

  it('has a line of the audit log for every key', () => {
    const lines = readFileSync(auditOf('Alice'), 'utf8').trim().split('\n');
    const events = lines.map((line) => JSON.parse(line) as { event: string; peer: string });
    assert.ok(events.length >= 5);
    assert.ok(events.every(({ event, peer }) => event === 'key-delivered' && peer === bob.uuid));
  });

  it('shows every metric that the rules and the dashboard name', async () => {
    await fetch(`http://127.0.0.1:${ports[0]}/readyz`);
    await note();
    const named = [readFileSync(RULES, 'utf8').replaceAll(/^ *#.*$/gm, ''), ...dashboardQueries()];
    const missing = new Set(named.flatMap(metricsIn).filter((name) => !shown.has(name)));
    assert.deepEqual([...missing], []);
    const page = readFileSync(`${HOME}docs/telemetry.md`, 'utf8');
    const names = [...shown].map((name) => name.replace(/_(bucket|count|sum)$/, ''));
    const unexplained = new Set(names.filter((name) => !page.includes(`\`${name}\``)));
    assert.deepEqual([...unexplained], ['target_info']);
  });

  it('sees a peer that is killed, which fires KeyweavePeerDown', async () => {
    const earlier = await sample(alice);
    bob.process.kill('SIGKILL');
    await stopNode(bob);
    const later = await until(alice, 'Bob is down', (now) => sum(now, 'keyweave_peer_up', bob.uuid) === 0);
    assertFires('KeyweavePeerDown', [earlier, later]);
  });

  it('tells no secret in any metric, span, log or line of the audit log', async () => {
    const told: Buffer[] = [Buffer.from(await expose(alice))];
    await network.stop();
    const paths = new Set(collector.bodies.map(({ path }) => path));
    assert.deepEqual(paths, new Set(['/v1/metrics', '/v1/traces']));
    told.push(...collector.bodies.map(({ body }) => body), Buffer.from(printed.join('\n')));
    for (const node of network.nodes) told.push(readFileSync(auditOf(node.name)));
    assert.ok(printed.some((line) => line.includes('DEBUG')));
    assert.ok(collector.spans.some(({ name }) => name === 'keyweave.batch'));
    plant(Buffer.from('123456789'));
    assert.ok(planted.length > 100);
    for (const secret of planted)
      for (const [i, text] of told.entries())
        assert.ok(!text.includes(secret), `${secret.toString('latin1')} stands in output ${i}`);
  });
});
