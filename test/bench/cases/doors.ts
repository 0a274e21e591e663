import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { clientCertificate } from '../../helpers/client-certificate.ts';
import { nodeUuid } from '../../helpers/network.ts';
import { cpuMs } from '../../helpers/proc.ts';
import {
  binaryDoor,
  type Door,
  type DoorNetwork,
  type DoorStream,
  grpcDoor,
  jsonDoor,
  type NamedKey,
  restDoor,
  SAES,
} from '../client/door-streams.ts';
import { median } from '../figures.ts';
import type { BenchCase, CaseContext } from './case.ts';

/** Doors, and how many keys are asked for at a time. */
const DOORS: readonly (readonly [name: string, door: Door, keys: number])[] = [
  ['ETSI 004 JSON', jsonDoor, 1],
  ['ETSI 004 binary', binaryDoor, 1],
  ['gRPC, 1 key', grpcDoor, 1],
  ['gRPC, 32 keys', grpcDoor, 32],
  ['ETSI 014, 1 key', restDoor, 1],
  ['ETSI 014, 10 keys', restDoor, 10],
  ['ETSI 014, 32 keys', restDoor, 32],
];

/** Fetches of keys that lie ready, and the pause before each in which they are made. */
const READY_FETCHES = 200;
const PAUSE_MS = 10;

/** Keys of a burst that lie ready at both ends, bursts, and the pause before each in which they are made. */
const BURST_KEYS = 64;
const BURSTS = 20;
const BURST_PAUSE_MS = 150;

/** The same keys by every door, all over mutual TLS. */
export const doors: BenchCase = {
  config: ({ sources, method }) => {
    const made = { default_method: method, default_key_sources: sources.split(',') };
    const saes = Object.fromEntries(SAES.map((id, i) => [id, { node: nodeUuid(i) }]));
    return {
      listeners: {
        json: { tls: 'mutual' },
        binary: { port: 0, max_bps: 0 },
        grpc: { port: 0 },
        rest: { port: 0, saes, max_key_size: 256, ...made },
      },
    };
  },
  async run(context) {
    const { options, progress } = context;
    const network = await networkOf(context);
    const tables = [];
    for (const count of options.doorStreams) {
      const rows: Record<string, Record<string, number>> = {};
      for (const [name, door, keys] of DOORS.filter(([name]) => name.includes(options.doors))) {
        progress(`doors, ${count} streams: ${name}`);
        const streams = await Promise.all(Array.from({ length: count }, () => door(network, keys)));
        // Of several keys at a time nobody knows whether all of them were ready.
        const readyMs = keys === 1 ? await readyMsOf(streams[0] as DoorStream) : Number.NaN;
        const measured = await measure(context, streams);
        const burst = await burstOf(streams[0] as DoorStream);
        rows[name] = { ...measured, 'of a ready key p50 ms': readyMs, 'ready keys/s': burst };
        for (const stream of streams) stream.close();
      }
      tables.push({ title: `Doors, ${count} streams: a fetch is one at each end`, rows });
    }
    return tables;
  },
};

async function networkOf({ network: { folder, nodes }, options }: CaseContext): Promise<DoorNetwork> {
  const read = (file: string) => readFileSync(join(folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const pems = SAES.map(async (name) => {
    const { certificate, key } = await clientCertificate(ca, { subject: `CN=${name}` });
    return { ca: ca.certificate, cert: certificate, key };
  });
  const query = `hybridization=${options.method}&key_sources=${options.sources}`;
  return {
    nodes: nodes as unknown as DoorNetwork['nodes'],
    pems: (await Promise.all(pems)) as unknown as DoorNetwork['pems'],
    query,
  };
}

async function readyMsOf(stream: DoorStream): Promise<number> {
  const readyMs: number[] = [];
  for (let i = 0; i < READY_FETCHES; i++) {
    await setTimeout(PAUSE_MS);
    const started = performance.now();
    await stream.fetch();
    readyMs.push(performance.now() - started);
  }
  return median(readyMs);
}

/** Keys a second of those that lie ready, once the stream has been read long enough to have as many. */
async function burstOf(stream: DoorStream): Promise<number> {
  const perSecond: number[] = [];
  for (let i = 0; i < BURSTS; i++) {
    await setTimeout(BURST_PAUSE_MS);
    const started = performance.now();
    let keys = 0;
    while (keys < BURST_KEYS) {
      const [one, other] = await stream.fetch();
      keys += Math.min(one.length, other.length);
    }
    perSecond.push((keys * 1_000) / (performance.now() - started));
  }
  return median(perSecond);
}

async function measure({ network, options }: CaseContext, streams: readonly DoorStream[]) {
  const match = matcher();
  const fetchMs: number[] = [];
  let keys = 0;
  let given = 0;
  const cpu = () =>
    network.nodes.flatMap(({ services }) => Object.values(services)).map(({ pid }) => cpuMs(pid));
  const sum = (list: readonly number[]) => list.reduce((total, ms) => total + ms, 0);
  const before = sum(cpu());
  const started = performance.now();
  const end = started + options.measuredMs;
  await Promise.all(
    streams.map(async (stream, i) => {
      for (let now = performance.now(); now < end; now = performance.now()) {
        const got = await stream.fetch();
        fetchMs.push(performance.now() - now);
        keys += match(i, got);
        given += got.flat().length;
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  return {
    'keys/s': keys / seconds,
    'keys/fetch': given / 2 / fetchMs.length,
    'fetch p50 ms': median(fetchMs),
    'CPU ms/key': (sum(cpu()) - before) / keys,
  };
}

/** Keys that both ends have by now. @throws Error where two of one name differ. */
function matcher() {
  const open = new Map<string, string>();
  return (stream: number, ends: readonly (readonly NamedKey[])[]): number => {
    let both = 0;
    for (const [name, key] of ends.flat()) {
      const whole = `${stream} ${name}`;
      const other = open.get(whole);
      if (other === undefined) open.set(whole, key);
      else if (other !== key) throw new Error('the two ends were not given the same key');
      else both += Number(open.delete(whole));
    }
    return both;
  };
}
