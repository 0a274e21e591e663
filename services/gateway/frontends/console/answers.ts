import type { CertificateStatus, ServiceStatus, SourceStatus } from '#common/status/node-status.ts';

/**
 * What the console's page is told, as JSON: numbers, names of algorithms,
 * nodes and files. No key, no Key_stream_ID (a stream goes by the hash that
 * traces and the audit log have), no application, no client.
 */
export interface ConsoleState {
  /** When the gateway began, milliseconds since 1970: counts and moments of another start are of no use with these. */
  readonly startedAt: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly node: { readonly uuid: string; readonly version: string };
  /** What keeps the node from its work, in words; null where nobody could be asked. */
  readonly problems: readonly string[] | null;
  /** Why there are no metrics, in words; null where there are. */
  readonly metricsMissing: string | null;
  readonly peers: readonly PeerState[];
  readonly streams: { readonly total: number; readonly shown: readonly StreamState[] };
  readonly refusals: readonly RefusalState[];
  readonly algorithms: readonly AlgorithmState[];
  /** Speeds of what has been used, of this node's metrics. */
  readonly sources: readonly SourceStatus[];
  readonly services: readonly ServiceStatus[];
  readonly certificates: readonly CertificateStatus[];
  /** Batches whose ends differed, and those with equal or empty secrets: both must be 0. */
  readonly mismatches: number;
  readonly sourceFaults: number;
}

/** Streams with another node, and the links to it. */
export interface PeerState {
  /** UUID. */
  readonly node: string;
  /** Of its peer-broker, host and port; null where it is trusted no more. */
  readonly address: string | null;
  /** Whether its peer-broker answers; null where nobody has asked it. */
  readonly isUp: boolean | null;
  readonly rttSeconds: number | null;
  readonly streams: number;
  /** Those that both applications have joined. */
  readonly joined: number;
  /** Confirmed keys that wait for an application of this node. */
  readonly ready: number;
  readonly coming: number;
  /** GET_KEYs that wait. */
  readonly waiting: number;
  readonly delivered: number;
  readonly deliveredPerSecond: number;
  readonly madePerSecond: number;
  readonly qkd: QkdLinkState;
}

/** What has become of the QKD keys of the link to a peer, those of 256 bits. */
export interface QkdLinkState {
  readonly held: number;
  readonly taken: number;
  readonly woven: number;
  readonly burned: number;
  readonly takenPerSecond: number;
}

export interface StreamState {
  /** Hash of its Key_stream_ID. */
  readonly stream: string;
  readonly peer: string;
  readonly role: string;
  readonly method: string;
  readonly sources: readonly string[];
  /** Where the applications of this end and of the other one stand. */
  readonly here: string;
  readonly there: string;
  readonly ready: number;
  readonly coming: number;
  readonly waiting: number;
  readonly delivered: number;
}

/** Requests of one kind that were refused for one reason. */
export interface RefusalState {
  readonly call: string;
  readonly reason: string;
  /** ETSI GS QKD 004. */
  readonly status: number;
  /** Since the gateway began. */
  readonly total: number;
  /** The last one, milliseconds since 1970. */
  readonly lastAt: number;
}

export interface AlgorithmState {
  readonly name: string;
  readonly family: string;
  readonly nistCategory: number;
  /** Why it cannot be done here, in words; empty where it can, null while that is not known. */
  readonly unavailable: string | null;
}

/**
 * What is drawn of one moment, of each peer in this order: keys delivered and
 * made a second, ready, coming; QKD keys taken a second, held.
 */
export interface Moment {
  /** Counts from 1; a page asks for those after the last that it has. */
  readonly n: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly peers: Readonly<Record<string, readonly number[]>>;
}

/** What `/api/state` answers. */
export interface ConsoleAnswer {
  readonly state: ConsoleState;
  readonly history: readonly Moment[];
}

/** @param state its JSON, which is the same for all who ask at one moment. */
export function stateAnswer(state: string, history: readonly Moment[]): Buffer {
  return Buffer.from(`{"state":${state},"history":${JSON.stringify(history)}}`);
}
