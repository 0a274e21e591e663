import { type LoadedNode, type LoadSink, PairLoad } from '../helpers/pair-load.ts';

/**
 * Runs in a pod of the cluster (cluster-load.ts puts it there): applications of
 * pairs of nodes that fetch keys at a steady rate, until stdin ends. A line of
 * JSON on stdout for everything that they see; digests only.
 */
const { pairs, keysPerSecond } = JSON.parse(process.argv[2] ?? '') as {
  pairs: [LoadedNode, LoadedNode][];
  keysPerSecond: number;
};

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const sink: LoadSink = { answered: (entry) => say({ entry }), lost: (loss) => say({ loss }) };

process.stdin.resume();
const ended = new Promise((resolve) => process.stdin.once('end', resolve).once('error', resolve));
say({ nowMs: Date.now() });
const loads = await Promise.all(
  pairs.map((between) => PairLoad.start({ between, keysPerSecond: keysPerSecond / pairs.length, sink })),
);
say({ started: true });
await ended;
await Promise.all(loads.map((load) => load.stop()));
process.exit(0);
