import { STATUS_TABLE } from '#common/errors/status-table.ts';
import type { Scrape } from '#common/status/samples.ts';

/** What a node tells of itself; rates are of the time between two looks at it. */
export interface NodeStatus {
  readonly node: string;
  readonly version: string;
  /** What keeps it from its work, in words; empty when it is ready. */
  readonly problems: readonly string[];
  readonly services: readonly ServiceStatus[];
  readonly peers: readonly PeerStatus[];
  readonly sources: readonly SourceStatus[];
  readonly refusals: readonly RefusalStatus[];
  readonly certificates: readonly CertificateStatus[];
  /** Batches whose ends differed, and those with equal or empty secrets: both must be 0. */
  readonly mismatches: number;
  readonly sourceFaults: number;
}

export interface ServiceStatus {
  readonly name: string;
  readonly upSeconds: number;
  readonly restarts: number;
  readonly memoryBytes: number;
  /** Share of one core. */
  readonly cpu: number;
  /** By how much the event loop is late, in one of a hundred turns. */
  readonly lateSeconds: number;
}

export interface PeerStatus {
  readonly node: string;
  /** Undefined where the peer-broker has not asked it yet. */
  readonly isUp: boolean | undefined;
  /** Mean of the round trips since the start; undefined without any. */
  readonly rttSeconds: number | undefined;
  readonly streams: number;
  /** Those that both applications have joined. */
  readonly joined: number;
  readonly buffered: number;
  readonly coming: number;
  /** GET_KEYs that wait. */
  readonly waiting: number;
  readonly madePerSecond: number;
  readonly deliveredPerSecond: number;
  readonly delivered: number;
}

export interface SourceStatus {
  readonly source: string;
  readonly operation: string;
  readonly perSecond: number;
  /** Of those in the time between the looks where there were some, else since the start. */
  readonly meanSeconds: number;
  /** Since the start, by outcome; without those that went well. */
  readonly failures: Readonly<Record<string, number>>;
}

export interface RefusalStatus {
  readonly call: string;
  readonly status: number;
  readonly reason: string;
  readonly total: number;
  readonly perSecond: number;
}

export interface CertificateStatus {
  readonly service: string;
  readonly kind: string;
  readonly file: string;
  /** ISO 8601. */
  readonly until: string;
  readonly secondsLeft: number;
}

export interface Look {
  readonly scrape: Scrape;
  /** By a monotonic clock. */
  readonly atMs: number;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
  readonly problems: readonly string[];
}

/** What two looks at a node tell of it. */
export function nodeStatus(earlier: Look, later: Look): NodeStatus {
  const { scrape: now, wallMs } = later;
  const before = earlier.scrape;
  const seconds = (later.atMs - earlier.atMs) / 1000;
  type Labels = Readonly<Record<string, string>>;
  const rate = (name: string, labels: Labels) => {
    const more = now.sum(name, labels) - before.sum(name, labels);
    // A process that was started again counts from 0.
    return seconds > 0 ? Math.max(0, more) / seconds : 0;
  };
  const info = now.of('target_info')[0]?.labels ?? {};
  return {
    node: info.keyweave_node ?? '',
    version: info.service_version ?? '',
    problems: later.problems,
    services: now
      .values('process_start_time_seconds', 'service_name')
      .filter((name) => name !== 'node')
      .map((name) => {
        const own = { service_name: name };
        return {
          name,
          upSeconds: Math.max(0, wallMs / 1000 - now.sum('process_start_time_seconds', own)),
          restarts: now.sum('keyweave_service_restarts_total', { service: name }),
          memoryBytes: now.sum('process_resident_memory_bytes', own),
          cpu: rate('process_cpu_seconds_total', own),
          lateSeconds: now.sum('nodejs_eventloop_delay_seconds', { ...own, quantile: '0.99' }),
        };
      }),
    peers: peersIn(now).map((node) => {
      const peer = { peer: node };
      const [up] = now.of('keyweave_peer_up', peer);
      const trips = now.sum('keyweave_peer_rtt_seconds_count', peer);
      return {
        node,
        isUp: up && up.value === 1,
        rttSeconds: trips > 0 ? now.sum('keyweave_peer_rtt_seconds_sum', peer) / trips : undefined,
        streams: now.sum('keyweave_streams_open', peer),
        joined: now.sum('keyweave_streams_joined', peer),
        buffered: now.sum('keyweave_keys_buffered', peer),
        coming: now.sum('keyweave_keys_coming', peer),
        waiting: now.sum('keyweave_requests_waiting', peer),
        madePerSecond: rate('keyweave_keys_produced_total', peer),
        deliveredPerSecond: rate('keyweave_keys_delivered_total', peer),
        delivered: now.sum('keyweave_keys_delivered_total', peer),
      };
    }),
    sources: sourcesIn(now).map((which) => {
      const name = 'keyweave_source_duration_seconds';
      const more = now.sum(`${name}_count`, which) - before.sum(`${name}_count`, which);
      const since = more > 0 ? before : undefined;
      const count = now.sum(`${name}_count`, which) - (since?.sum(`${name}_count`, which) ?? 0);
      const time = now.sum(`${name}_sum`, which) - (since?.sum(`${name}_sum`, which) ?? 0);
      const failures = now
        .of(`${name}_count`, which)
        .filter(({ labels }) => labels.outcome !== 'ok')
        .map(({ labels, value }) => [labels.outcome ?? '', value] as const);
      return {
        ...which,
        perSecond: rate(`${name}_count`, which),
        meanSeconds: count > 0 ? time / count : 0,
        failures: Object.fromEntries(failures),
      };
    }),
    refusals: now.of('keyweave_requests_refused_total').map(({ name, labels, value }) => ({
      call: labels.call ?? '',
      status: Number(labels.status ?? STATUS_TABLE.INTERNAL.etsi004),
      reason: labels.reason ?? '',
      total: value,
      perSecond: rate(name, labels),
    })),
    certificates: now.of('keyweave_certificate_not_after_seconds').map(({ labels, value }) => ({
      service: labels.service_name ?? '',
      kind: labels.kind ?? '',
      file: labels.file ?? '',
      until: new Date(value * 1000).toISOString(),
      secondsLeft: value - wallMs / 1000,
    })),
    mismatches: now.sum('keyweave_key_mismatches_total'),
    sourceFaults: now.sum('keyweave_source_faults_total'),
  };
}

/** Peers that are trusted, or that there are streams with. */
function peersIn(now: Scrape): string[] {
  return [
    ...new Set(['keyweave_peer_up', 'keyweave_streams_open'].flatMap((name) => now.values(name, 'peer'))),
  ];
}

function sourcesIn(now: Scrape): { source: string; operation: string }[] {
  const all = now.of('keyweave_source_duration_seconds_count');
  const known = new Map(
    all.map(({ labels: { source = '', operation = '' } }) => [
      `${source} ${operation}`,
      { source, operation },
    ]),
  );
  return [...known.values()];
}
