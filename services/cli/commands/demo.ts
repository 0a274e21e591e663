import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { createClient, type DeliveredKey } from '../../client/main.ts';
import { type DemoNetwork, startDemoNetwork } from '../demo/demo-network.ts';
import type { LocalNode } from '../demo/local-node.ts';
import { commandFailure } from '../driver/refused-call.ts';
import { onStopSignals, SIGNAL_STATUS } from '../ending/stop-signals.ts';
import { fingerprint } from '../fingerprint.ts';
import { printTable } from '../table.ts';

const KEYS_PER_STREAM = 3;

/** Key generation of Classic McEliece takes seconds where no native engine is built. */
const TIMEOUT_MS = 60_000;

const STREAMS = [
  { between: ['Alice', 'Bob'], query: 'hybridization=xoring&key_sources=ML-KEM-768,QKD' },
  { between: ['Alice', 'Charlie'], query: 'hybridization=hmac&key_sources=Classic-McEliece-348864,QKD' },
  { between: ['Bob', 'Charlie'], query: 'hybridization=hkdf-sha384&key_sources=ML-KEM-1024,QKD,HQC-256' },
] as const;

interface Row {
  cells: (string | number)[];
  equal: boolean;
}

/** Three nodes, three streams, keys at both ends. Fails unless every pair of keys is equal. Whatever ends it, nothing stays: no process, no folder. */
export async function runDemo(): Promise<void> {
  const [interruption, force] = [new AbortController(), new AbortController()];
  let network: DemoNetwork | undefined;
  onStopSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], {
    first: (signal) => {
      progress('stopping everything');
      process.exitCode = SIGNAL_STATUS[signal];
      interruption.abort();
      // What is starting is stopped by the start itself.
      void network?.stop();
    },
    again: () => force.abort(),
  });
  try {
    progress('starting the nodes Alice, Bob and Charlie, five services each, with simulated key managers');
    const started = systemClock.monotonicMs();
    network = await startDemoNetwork(['Alice', 'Bob', 'Charlie'], {
      signal: interruption.signal,
      force: force.signal,
    });
    progress(`all are ready after ${((systemClock.monotonicMs() - started) / 1000).toFixed(1)} s`);
    await showStreams(network);
  } catch (error) {
    // What fails once everything is being stopped does so for that reason.
    if (!interruption.signal.aborted) throw error;
  } finally {
    if (!interruption.signal.aborted) progress('stopping everything');
    await network?.stop();
  }
  process.exit();
}

async function showStreams({ nodes, qkdKeysTaken }: DemoNetwork): Promise<void> {
  const rows = (await Promise.all(STREAMS.map((stream) => runStream(nodes, stream)))).flat();
  printTable(
    ['nodes', 'method', 'sources', 'index', 'bytes', 'first end', 'second end', 'equal'],
    rows.map((row) => row.cells),
  );
  process.stdout.write('\nKeys are shown as the first bytes of their SHA-256, never themselves.\n');
  if (!rows.every((row) => row.equal))
    throw new KeyweaveError('AGREEMENT_FAILED', 'two ends hold different keys');
  process.stdout.write(`${rows.length} of ${rows.length} keys are equal at both ends.\n`);
  // Each was read at two ends, and is of one QKD key at each.
  const [taken, delivered] = [qkdKeysTaken(), 2 * rows.length];
  process.stdout.write(
    `QKD keys: ${taken} taken at the key managers, ${delivered} delivered, ${taken - delivered} held or spent on finding out what the key managers bear.\n`,
  );
}

async function runStream(nodes: readonly LocalNode[], stream: (typeof STREAMS)[number]): Promise<Row[]> {
  const ends = stream.between.map((name) => nodes.find((node) => node.name === name) as LocalNode);
  const [from, to] = ends as [LocalNode, LocalNode];
  const data = {
    source: `hybrid://SPI_1@${from.uuid}?${stream.query}`,
    destination: `hybrid://SPI_1@${to.uuid}?${stream.query}`,
    qos: { maxBps: 32, minBps: 32, timeoutMs: TIMEOUT_MS },
  };
  const clients = await Promise.all(ends.map(({ json }) => createClient(json)));
  const query = new URLSearchParams(stream.query);
  const rows: Row[] = [];
  try {
    const opened = await Promise.all(clients.map((client) => client.open(data)));
    progress(`${stream.between.join(' and ')} share stream ${opened[0]?.ksid}`);
    for (let i = 0; i < KEYS_PER_STREAM; i++) {
      const keys = await Promise.all(opened.map((each) => each.next()));
      using one = keys[0] as DeliveredKey;
      using other = keys[1] as DeliveredKey;
      const [a, b] = [one.key.expose(), other.key.expose()];
      const equal = a.equals(b) && one.index === other.index;
      rows.push({
        equal,
        cells: [
          stream.between.join('-'),
          query.get('hybridization') ?? '',
          query.get('key_sources') ?? '',
          one.index,
          a.length,
          fingerprint(a),
          fingerprint(b),
          equal ? 'yes' : 'NO',
        ],
      });
    }
    await Promise.all(opened.map((each) => each.close()));
    return rows;
  } catch (thrown) {
    throw commandFailure(thrown);
  } finally {
    for (const client of clients) client.end();
  }
}

function progress(text: string): void {
  process.stderr.write(`demo: ${text}\n`);
}
