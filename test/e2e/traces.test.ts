import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { streamHash } from '#common/ids/stream-hash.ts';
import { type CollectedSpan, type Collector, startCollector } from '../helpers/collector.ts';
import { eventually, keyOf, type LocalNode, networkFor, openData, openPair } from '../helpers/network.ts';

/** Spans arrive a second after they have ended; on a busy machine later. */
const ARRIVAL_MS = 15_000;

/** A relayed call through the brokers of both nodes, to what the gateway at its end does. */
function relayed(method: string, from: string, to: string, then: Tree = {}): Tree {
  const name = `keyweave.v1.KeyAgreement/${method}`;
  return {
    [`${name} of gateway@${from}`]: {
      [`${name} at peer-broker@${from}`]: {
        [`${name} of peer-broker@${from}`]: {
          [`${name} at peer-broker@${to}`]: {
            [`${name} of peer-broker@${to}`]: { [`${name} at gateway@${to}`]: then },
          },
        },
      },
    },
  };
}

/** What the gateway of a node asks a service of the same node. */
function asked(what: string, node: string, service: string, method: string): Tree {
  return {
    [`${what} gateway@${node}`]: {
      [`${method} of gateway@${node}`]: { [`${method} at ${service}@${node}`]: {} },
    },
  };
}

/** Spans by what they are and where, each with those that it is the parent of. */
interface Tree {
  [span: string]: Tree;
}

const FETCH = ['fetch QKD', 'qkd-source', 'keyweave.v1.QkdSource/FetchKeys'] as const;
const DERIVE = ['derive hybridizer', 'hybridizer', 'keyweave.v1.Hybridizer/Derive'] as const;
const at = (node: string, [what, service, method]: typeof FETCH | typeof DERIVE) =>
  asked(what, node, service, method);

/** A batch that Alice drives, as both nodes see it. */
const BATCH: Tree = {
  'keyweave.batch gateway@Alice': {
    'generate ML-KEM-768 gateway@Alice': {},
    ...relayed('Produce', 'Alice', 'Bob', {
      ...asked('encapsulate ML-KEM-768', 'Bob', 'pqc-source', 'keyweave.v1.PqcSource/Encapsulate'),
      ...at('Bob', FETCH),
      ...at('Bob', DERIVE),
    }),
    'decapsulate ML-KEM-768 gateway@Alice': {},
    ...at('Alice', DERIVE),
    ...relayed('Confirm', 'Alice', 'Bob'),
  },
};

const KINDS: Readonly<Record<number, string>> = { 1: '', 2: 'at ', 3: 'of ' };

/**
 * Without the initiator's reads of QKD keys: they are the link's, and stand
 * below whatever showed that keys were lacking.
 */
const READ = 'fetch QKD gateway@Alice';

function treeOf(
  root: CollectedSpan,
  spans: readonly CollectedSpan[],
  names: ReadonlyMap<unknown, string>,
): Tree {
  const { name, kind, resource, attributes } = root;
  const isCall = 'rpc.method' in attributes;
  const where = `${resource['service.name']}@${names.get(resource['keyweave.node'])}`;
  const children = spans.filter(({ parentId }) => parentId === root.spanId);
  return {
    [`${name} ${isCall ? KINDS[kind] : ''}${where}`]: Object.assign(
      {},
      ...children.map((child) => treeOf(child, spans, names)).filter((tree) => Object.keys(tree)[0] !== READ),
    ),
  };
}

async function traced(t: { after: (stop: () => Promise<void>) => void }, ratio = 1) {
  const collector = await startCollector();
  t.after(() => collector.close());
  const network = await networkFor(t, {
    names: ['Alice', 'Bob'],
    config: () => ({
      telemetry: {
        metrics: false,
        traces: { sample_ratio: ratio },
        otlp: { endpoint: collector.endpoint },
      },
    }),
  });
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  const names = new Map<unknown, string>([
    [alice.uuid, 'Alice'],
    [bob.uuid, 'Bob'],
  ]);
  return { collector, network, alice, bob, names };
}

/** The GET_KEY of an index at a node, once the whole tree below it has arrived. */
function arrived(
  { spans }: Collector,
  node: LocalNode,
  index: number,
  names: ReadonlyMap<unknown, string>,
  expected: Tree,
) {
  const find = () =>
    spans.find(
      ({ name, attributes, resource }) =>
        name === 'GET_KEY' &&
        attributes['keyweave.index'] === index &&
        resource['keyweave.node'] === node.uuid,
    );
  const tree = () => {
    const root = find();
    return root && treeOf(root, spans, names);
  };
  return eventually('the spans', ARRIVAL_MS, async () => {
    assert.deepEqual(tree(), expected);
    return find();
  }).catch(() => {
    assert.deepEqual(tree(), expected);
    return assert.fail('the spans came late');
  });
}

describe('the trace of a GET_KEY that misses', () => {
  it('goes through both nodes, asked for at either', async (t) => {
    const { collector, network, alice, bob, names } = await traced(t);
    const pair = await openPair(network, openData(alice, bob));
    t.after(() => pair.close());
    keyOf(await pair.a.getKey(pair.ksid));

    keyOf(await pair.a.getKey(pair.ksid, 150));
    const root = await arrived(collector, alice, 150, names, {
      'GET_KEY gateway@Alice': BATCH,
    });
    assert.equal(root?.parentId, '');
    assert.equal(root?.attributes['keyweave.stream'], streamHash(pair.ksid));
    assert.equal(root?.attributes['keyweave.outcome'], 'waited');
    const { traceId } = root ?? assert.fail();
    assert.ok(collector.spans.some((span) => span.traceId === traceId && span.name === 'fetch QKD'));

    keyOf(await pair.b.getKey(pair.ksid, 300));
    const demand = relayed('Demand', 'Bob', 'Alice', BATCH);
    await arrived(collector, bob, 300, names, { 'GET_KEY gateway@Bob': demand });
  });

  it('is not begun where nothing is sampled, at either node', async (t) => {
    const { collector, network, alice, bob } = await traced(t, 0);
    const pair = await openPair(network, openData(alice, bob));
    keyOf(await pair.a.getKey(pair.ksid, 60));
    await pair.close();
    // A stop sends what is left.
    await network.stop();
    assert.deepEqual(collector.bodies, []);
  });
});
