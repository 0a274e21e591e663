import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import fc from 'fast-check';
import type { JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import type { GrpcConnection } from '#common/grpc/client.ts';
import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { fuzzSeconds, startingPoint } from '../helpers/fuzz-parameters.ts';
import {
  dial,
  type Impostor,
  impersonate,
  startWiredNetwork,
  type WiredNetwork,
} from '../helpers/lying-peer.ts';
import { type LocalNode, openData, openPair, type Pair } from '../helpers/network.ts';
import { deadServices, type Holding, ServiceWatch } from '../helpers/service-watch.ts';
import { SteadyReaders } from '../helpers/steady-readers.ts';
import { type ConversationPlan, conversation, LIAR, NODES } from './conversation-plans.ts';
import { HostileApplication, LIMITS } from './hostile-application.ts';
import { makeCall, tellLies } from './hostile-peer.ts';
import { World } from './world.ts';

/** An honest GET_KEY takes no longer, whatever the others do: the longest of all, not a share of them. */
const STALL_MS = 1_000;

/** Pace of the honest readers, at each end of each stream. */
const READ_EVERY_MS = 25;

/** Shrinking takes no longer than this. */
const SHRINK_MS = 60_000;

/**
 * What a service may hold more than at the start, MB: heap that has grown to
 * its working size, compiled code, and what the allocator keeps of the largest
 * messages that were there at a time. What is in use tells of a leak.
 */
const RSS_TOLERANCE_MB = 120;
const LIVE_TOLERANCE_MB = 12;

/** Connections between services may be made anew, and two at a time exist then. */
const SOCKET_TOLERANCE = 4;

/** How long after the last conversation everything is back: offers that nobody repeats, streams whose time has run out. */
const SETTLE_MS = 45_000;

/** Streams of a node; so few that those which are never forgotten are soon missed. */
const MAX_STREAMS = 256;
const STREAMS_LEFT = 100;

let wired: WiredNetwork;
let nodes: readonly LocalNode[];
let steady: SteadyReaders;
let mallory: Impostor;
let connections: GrpcConnection[];
const watch = new ServiceWatch();
const counts = new Map<string, number>();
const honest: HistoryEntry[] = [];
const unexpected: string[] = [];
let longestMs = 0;

before(async () => {
  const { NODE_OPTIONS } = process.env;
  Object.assign(process.env, ServiceWatch.inspectable);
  wired = await startWiredNetwork({
    names: NODES,
    wired: [
      ['Alice', 'Carol'],
      ['Bob', 'Carol'],
    ],
    config: () => ({
      logging_config: { console_log_type: 'error', colorless_console_log: true, file_log_type: 'none' },
      limits: {
        max_streams: MAX_STREAMS,
        default_timeout: `${LIMITS.timeoutMs}ms`,
        max_timeout: `${LIMITS.longestTimeoutMs}ms`,
        request_timeout: `${LIMITS.requestMs}ms`,
        idle_timeout: `${LIMITS.idleMs}ms`,
      },
    }),
    onLog: (node, line) => {
      watch.line(line);
      if (/unexpectedly|unhandled|died/.test(line)) unexpected.push(`${node}: ${line}`);
    },
  });
  if (NODE_OPTIONS === undefined) delete process.env.NODE_OPTIONS;
  else process.env.NODE_OPTIONS = NODE_OPTIONS;
  nodes = wired.nodes;
  const [alice, bob] = nodes as [LocalNode, LocalNode];
  mallory = await impersonate(wired.network, (nodes[LIAR] as LocalNode).uuid);
  connections = [alice, bob].map((node) => dial(mallory, node));
  const qos = { timeout: LIMITS.longestTimeoutMs };
  steady = await SteadyReaders.start(
    [
      { source: alice.json, destination: bob.json, data: openData(alice, bob, undefined, qos) },
      {
        source: bob.json,
        destination: alice.json,
        data: openData(bob, alice, 'hybridization=hkdf-sha384&key_sources=ML-KEM-1024,QKD,ML-KEM-768', qos),
      },
    ],
    READ_EVERY_MS,
    [alice, bob].flatMap(({ services }) => Object.values(services).map(({ pid }) => pid)),
  );
});
after(async () => {
  watch.close();
  for (const connection of connections ?? []) connection.close();
  mallory?.close();
  await steady?.stop().catch(() => undefined);
  await wired?.stop();
});

/** Holds one conversation; throws with all that was wrong with it. */
async function hold(plan: ConversationPlan): Promise<void> {
  const world = new World({ nodes, wires: wired.wires, honest: steady.ksids, plan, counts });
  const over = new AbortController();
  tellLies(plan.lies, wired.wires, over.signal);
  await Promise.all([
    ...plan.clients.map((client) => new HostileApplication(client, world).run()),
    ...plan.calls.map((call) => makeCall(call, world, connections[call.target] as GrpcConnection)),
  ]);
  over.abort();
  tellLies([], wired.wires, over.signal);
  await tidy(world);
  const [alice, bob] = nodes as [LocalNode, LocalNode];
  const faults = [
    ...world.faults,
    ...world.breaches(),
    ...(await roomForStreams(alice, bob, 2)),
    ...(await honestFaults()),
    ...serviceFaults(),
  ];
  assert.ok(faults.length === 0, [...new Set(faults)].join('\n'));
}

/** Directions of links whose initiator is the hostile peer. */
const HOSTILE_LINKS = 2;

/** Closes at both ends what the applications have opened, so that the next conversation starts with nothing. */
async function tidy(world: World): Promise<void> {
  const ksids = [...world.chunkBytes.keys()];
  await Promise.all(
    nodes.map(async (node) => {
      const client = await Etsi004Client.connect(node.json);
      for (const ksid of ksids) await client.close(ksid);
      client.disconnect();
    }),
  );
}

/** What the honest applications have suffered since they were last asked. */
async function honestFaults(): Promise<string[]> {
  const { entries, longest } = await steady.report();
  honest.push(...entries);
  longestMs = Math.max(longestMs, longest.ms);
  const refused = entries.filter(({ status }) => status !== 0);
  // A node that had no processor for a second cannot keep the limits of its calls.
  const starved = longest.wholeMs - longest.ms > STALL_MS;
  const first = starved ? undefined : refused[0];
  const name = (ksid: string) => `honest stream ${steady.ksids.indexOf(ksid)}`;
  return [
    ...(longest.ms > STALL_MS
      ? [
          `${name(longest.ksid)} end ${longest.end}: a GET_KEY took ${longest.wholeMs} ms, ${longest.ms} of them not for want of a processor`,
        ]
      : []),
    ...(first
      ? [
          `${name(first.ksid)} end ${first.end}: ${refused.length} refused, the first with ${first.status} ${first.message}`,
        ]
      : []),
    ...breaches(entries, 32),
  ];
}

function serviceFaults(): string[] {
  return [...deadServices(nodes).map((name) => `${name} died`), ...unexpected.splice(0)];
}

describe('whole conversations', () => {
  it('leave the honest unharmed and the nodes as they were', {
    timeout: (fuzzSeconds() + 300) * 1_000,
  }, async (t) => {
    // What the first keys cost once is no growth.
    await warmUp();
    await honestFaults();
    const before = await watch.holdings(nodes);
    const qkdStreams = wired.network.kme.state().streams;

    const faults = await conversations(t);
    faults.push(...(await leftovers(before, qkdStreams)).map((what) => `afterwards: ${what}`));
    t.diagnostic(table(before, await watch.holdings(nodes)));
    faults.push(...breaches(honest, 32));
    t.diagnostic(
      `${honest.length} honest GET_KEYs, the longest ${longestMs} ms; ${[...counts]
        .map(([what, n]) => `${what}: ${n}`)
        .toSorted()
        .join(', ')}`,
    );
    assert.ok(faults.length === 0, faults.join('\n\n'));
  });
});

/** Every node has spoken with every other, so that all of their connections are there. */
async function warmUp(): Promise<void> {
  for (const from of nodes) {
    for (const to of nodes) {
      if (from === to) continue;
      const faults = await roomForStreams(from, to, 4);
      assert.deepEqual(faults, [], `${from.name} to ${to.name}`);
    }
  }
  await pause(2_000);
}

/** Holds random conversations until the time is up or one goes wrong, which is then shrunk; what was found. */
async function conversations(t: TestContext): Promise<string[]> {
  let last = Promise.resolve();
  const property = fc.asyncProperty(conversation, (plan) => {
    last = hold(plan);
    return last;
  });
  const again = startingPoint();
  const found = await fc.check(property, {
    ...again,
    numRuns: again.path === undefined ? 1_000_000 : 1,
    endOnFailure: true,
    interruptAfterTimeLimit: fuzzSeconds() * 1_000,
  });
  await last.catch(() => undefined);
  t.diagnostic(`${found.numRuns} conversations, seed ${found.seed}`);
  if (!found.failed || found.counterexamplePath === null) return [];
  const start = { seed: found.seed, path: found.counterexamplePath };
  const kind = kindOf(reasonOf(found));
  const alike = fc.asyncProperty(conversation, (plan) => {
    last = hold(plan);
    return last.catch((error: unknown) => {
      if (kindOf(String(error)) === kind) throw error;
    });
  });
  const shrunk = await fc.check(alike, { ...start, numRuns: 1, interruptAfterTimeLimit: SHRINK_MS });
  await last.catch(() => undefined);
  const replay = `FUZZ_SEED=${start.seed} FUZZ_PATH=${start.path} make fuzz-quick FUZZ=test/fuzz/conversations.test.ts`;
  return [
    `a conversation went wrong; to hold it again: ${replay}\n${reasonOf(found)}`,
    shrunk.failed && shrunk.counterexamplePath !== null
      ? `held again and shrunk ${shrunk.numShrinks} times: ${reasonOf(shrunk)}\n${fc.stringify(shrunk.counterexample?.[0])}`
      : `held again it went well; it was ${fc.stringify(found.counterexample?.[0])}`,
  ];
}

/** What went wrong first, without its figures: what is shrunk must stay the same trouble. */
function kindOf(reason: string): string {
  return (reason.split('\n')[0] ?? '').replace(/^.*?AssertionError.*?: /, '').replaceAll(/[\d.]+/g, '#');
}

function reasonOf(details: fc.RunDetails<[ConversationPlan]>): string {
  const { errorInstance } = details;
  return errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
}

/** What the conversations have left behind, looked at until it is gone or should be. */
async function leftovers(before: ReadonlyMap<string, Holding>, qkdStreams: number): Promise<string[]> {
  const [alice, bob] = nodes as [LocalNode, LocalNode];
  const untilMs = Date.now() + SETTLE_MS;
  for (;;) {
    const left = [...(await growth(before)), ...streamsLeft(qkdStreams)];
    if (left.length === 0) left.push(...(await roomForStreams(alice, bob, STREAMS_LEFT)));
    if (left.length === 0 || Date.now() > untilMs)
      return [...left, ...(await honestFaults()), ...serviceFaults()];
    await pause(2_000);
  }
}

async function growth(before: ReadonlyMap<string, Holding>): Promise<string[]> {
  const now = await watch.holdings(nodes);
  return [...now].flatMap(([name, { rssMb, liveMb, sockets }]) => {
    const then = before.get(name) as Holding;
    const note = (what: string, was: number, is: number, tolerance: number) =>
      is > was + tolerance ? [`${name}: ${what} ${Math.round(was)} before, ${Math.round(is)} now`] : [];
    return [
      ...note('MB resident', then.rssMb, rssMb, RSS_TOLERANCE_MB),
      ...note('MB in use', then.liveMb, liveMb, LIVE_TOLERANCE_MB),
      ...note('sockets', then.sockets, sockets, SOCKET_TOLERANCE),
    ];
  });
}

function table(before: ReadonlyMap<string, Holding>, now: ReadonlyMap<string, Holding>): string {
  const mb = (value: number) => Math.round(value);
  const rows = [...now].map(([name, { rssMb, liveMb, sockets }]) => {
    const then = before.get(name) as Holding;
    return `${name} ${mb(then.rssMb)} to ${mb(rssMb)} MB (in use ${mb(then.liveMb)} to ${mb(liveMb)}), ${then.sockets} to ${sockets} sockets`;
  });
  return `before and after: ${rows.join('; ')}`;
}

/**
 * The links of the nodes have their streams at the key managers, and nobody
 * else has any: a peer that names a reservoir out of nothing keeps one at most.
 */
function streamsLeft(qkdStreams: number): string[] {
  const { openStreams } = wired.network.kme.state();
  if (openStreams.length <= qkdStreams + HOSTILE_LINKS) return [];
  return [
    `${openStreams.length} streams at the key managers, ${qkdStreams} before: ${openStreams.join('; ')}`,
  ];
}

/** Whether `count` more streams from one node to another can be open at the same time, and deliver. */
async function roomForStreams(from: LocalNode, to: LocalNode, count: number): Promise<string[]> {
  const pairs: Pair[] = [];
  const failed: JsonAnswer[] = [];
  const openOne = async () => {
    const data = openData(from, to, undefined, { timeout: LIMITS.longestTimeoutMs });
    const pair = await openPair({ ...wired.network, nodes: [from, to] }, data);
    pairs.push(pair);
    const refused = (answers: readonly JsonAnswer[]) => answers.find(({ status }) => status !== 0);
    const answer = refused(pair.opened) ?? refused(await askPair(pair));
    if (answer) failed.push(answer);
  };
  // A few at a time: that there is room is the question, not how fast it is filled.
  for (let i = 0; i < count; i += 5)
    await Promise.all(Array.from({ length: Math.min(5, count - i) }, openOne));
  await Promise.all(pairs.map((pair) => pair.close()));
  const [first] = failed;
  return first ? [`${failed.length} of ${count} new streams failed: ${first.status} ${first.message}`] : [];
}

const askPair = ({ a, b, ksid }: Pair) => Promise.all([a.getKey(ksid), b.getKey(ksid)]);
