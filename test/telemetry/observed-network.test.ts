import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { streamHash } from '#common/ids/stream-hash.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import { alertNames, dashboardQueries } from '../helpers/alert-rules.ts';
import { callDenied } from '../helpers/lying-peer.ts';
import {
  eventually,
  keyOf,
  type LocalNetwork,
  type LocalNode,
  openData,
  openPair,
  startLocalNetwork,
  stopNode,
} from '../helpers/network.ts';
import { drawPlaces, type Observers, placesOf, type Rules, startObservers } from './observers.ts';
import { findPrograms } from './programs.ts';

const NAMES = ['Alice', 'Bob', 'Charlie'];
/** A rule may want to have seen a thing for two minutes. */
const ALERT_MS = 300_000;
const SETTLE_MS = 120_000;

/** Queries that have an answer only once something has gone wrong. */
const OF_FAULTS = /outcome!="ok"|keyweave_(requests_refused|indexes_burned|calls_denied)_total/;

const found = await findPrograms((text) => process.stderr.write(`telemetry: ${text}\n`));
const missing = 'missing' in found ? found.missing : undefined;
if (missing !== undefined) process.stderr.write(`telemetry: NOT tested: ${missing}\n`);

describe('three nodes, the collector, Jaeger and Prometheus', { skip: missing ?? false }, () => {
  let network: LocalNetwork;
  let observers: Observers;
  let alice: LocalNode;
  let bob: LocalNode;
  let isOver = false;
  let traffic: Promise<void> | undefined;

  before(async () => {
    const places = drawPlaces();
    const ports = await freePorts('127.0.0.1', NAMES.length);
    network = await startLocalNetwork({
      names: NAMES,
      config: (name, folder) => ({
        health: { port: ports[NAMES.indexOf(name)] },
        telemetry: {
          traces: { sample_ratio: 1 },
          otlp: {
            endpoint: `https://${places.collector}:4318`,
            ca_path: `${folder}/ca/ca.crt`,
            interval: '5s',
          },
          audit: { filename: `${folder}/${name}/audit.jsonl` },
        },
      }),
    });
    [alice, bob] = network.nodes as [LocalNode, LocalNode];
    if ('missing' in found) return;
    const targets = NAMES.map((instance, i) => ({ instance, address: `127.0.0.1:${ports[i]}` }));
    observers = await startObservers(found, places, network.folder, targets);
    traffic = fetchKeys();
  });

  after(async () => {
    isOver = true;
    await traffic;
    await observers?.stop();
    await network?.stop();
  });

  /** Keys for two applications, some of which lie ready and some of which do not, until the end. */
  async function fetchKeys(): Promise<void> {
    while (!isOver) {
      const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 3_000 })).catch(
        () => undefined,
      );
      for (let i = 0; i < 20 && pair && !isOver; i++) {
        const index = i % 5 === 4 ? i * 20 : undefined;
        const given = [pair.a.getKey(pair.ksid, index), pair.b.getKey(pair.ksid, index)];
        await Promise.all(given.map((answer) => answer.catch(() => undefined)));
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await pair?.close();
    }
  }

  const alerts = async (labels: string) =>
    (await observers.query(`ALERTS{${labels}}`)).map(({ metric }) => metric);

  /** Waits until each of the dashboard's queries that are so has an answer, with a number in it. */
  async function assertAnswered(isAsked: (query: string) => boolean): Promise<void> {
    const asked = dashboardQueries().filter(isAsked);
    assert.ok(asked.length > 0);
    let silent = asked;
    await eventually('answers', SETTLE_MS, async () => {
      const answers = await Promise.all(
        silent.map((query) => observers.query(query.replaceAll('$node', '.*'))),
      );
      silent = silent.filter((_, i) => !answers[i]?.some(({ value }) => value[1] !== 'NaN'));
      return silent.length === 0 || undefined;
    }).catch(() => assert.deepEqual(silent, [], 'queries without an answer'));
  }

  it('has every node up, and every rule loaded', async () => {
    await eventually('all targets are up', SETTLE_MS, async () => {
      const up = await observers.query('up{job="keyweave"}');
      return (up.length === NAMES.length && up.every(({ value }) => value[1] === '1')) || undefined;
    });
    const { groups } = await observers.prometheus<Rules>('rules');
    const rules = groups.flatMap((group) => group.rules);
    assert.deepEqual(
      rules.filter(({ type }) => type === 'alerting').map(({ name }) => name),
      alertNames(),
    );
    await eventually('every rule has been asked', SETTLE_MS, async () => {
      const { groups: later } = await observers.prometheus<Rules>('rules');
      return later.flatMap((group) => group.rules).every(({ health }) => health === 'ok') || undefined;
    });
  });

  it('answers every query of the dashboard that is not about faults', () =>
    assertAnswered((query) => !OF_FAULTS.test(query)));

  it('fires no alert while all is well', async () => {
    await eventually('peers that are seen', SETTLE_MS, async () => {
      const peers = await observers.query('keyweave_peer_up');
      const isAll = peers.length === NAMES.length * (NAMES.length - 1);
      return (isAll && peers.every(({ value }) => value[1] === '1')) || undefined;
    });
    // Nor is one about to; but whether this machine is fast enough is no question here.
    assert.deepEqual(await alerts('alertname!="KeyweaveEventLoopLate"'), []);
  });

  it('finds the trace of a GET_KEY at both nodes by the hash of its stream', async () => {
    const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 30_000 }));
    keyOf(await pair.a.getKey(pair.ksid));
    keyOf(await pair.a.getKey(pair.ksid, 150));
    // Each process sends its spans by itself.
    await eventually('a trace of both nodes, whole', SETTLE_MS, async () => {
      const traces = await observers.traces('gateway', { 'keyweave.stream': streamHash(pair.ksid) });
      return traces.find((trace) => {
        const places = placesOf(trace);
        return (
          trace.spans.some(({ operationName }) => operationName === 'GET_KEY') &&
          [alice, bob].every(({ uuid }) =>
            ['gateway', 'peer-broker', 'hybridizer'].every((name) => places.includes(`${name} of ${uuid}`)),
          )
        );
      });
    });
    await pair.close();
  });

  it('answers the queries about faults once there are some', async () => {
    await callDenied(network, alice);
    network.kme.setFault(1, 'refuse');
    await assertAnswered((query) => OF_FAULTS.test(query));
    network.kme.setFault(1, undefined);
  });

  it('fires KeyweavePeerDown and KeyweaveNodeDown for a node that is killed, and names it', async () => {
    bob.process.kill('SIGKILL');
    await stopNode(bob);
    await eventually('the alerts', ALERT_MS, async () => {
      const firing = await alerts('alertstate="firing"');
      const isDown = firing.some(
        ({ alertname, instance }) => alertname === 'KeyweaveNodeDown' && instance === 'Bob',
      );
      const seenBy = firing.filter(
        ({ alertname, peer }) => alertname === 'KeyweavePeerDown' && peer === bob.uuid,
      );
      return (isDown && seenBy.length === NAMES.length - 1) || undefined;
    });
  });
});
