import type { LocalNetwork } from '../../helpers/network.ts';
import type { PacerKind } from '../client/pacer.ts';
import type { FigureTable } from '../figures.ts';
import type { Probes } from '../probe/probes.ts';

export interface BenchOptions {
  readonly sources: string;
  readonly method: string;
  /** Of each measurement, after the warm-up of an open loop. */
  readonly measuredMs: number;
  readonly warmUpMs: number;
  /** Numbers of streams that fetch as fast as they can. */
  readonly throughputStreams: readonly number[];
  /** Keys a second of all streams of an open loop, and how many streams those are. */
  readonly rates: readonly number[];
  readonly openLoopStreams: number;
  /** Streams of one key a second each. */
  readonly slowStreams: number;
  readonly freshStreams: number;
  /** Numbers of streams, or of connections of one pair of SAEs, at each door. */
  readonly doorStreams: readonly number[];
  /** A part of the names of the doors that are measured; empty for all. */
  readonly doors: string;
  /** Of the load between two looks at what the processes hold, and of the rest after it. */
  readonly loadMs: number;
  readonly restMs: number;
  readonly pacer: PacerKind;
  /** Where CPU profiles of what an open loop measures go. */
  readonly profiles: string | undefined;
}

/** Two nodes that run and have served nothing yet. */
export interface CaseContext {
  readonly network: LocalNetwork;
  readonly probes: Probes;
  readonly options: BenchOptions;
  readonly progress: (text: string) => void;
}

export interface BenchCase {
  /** Whether once is enough, however many runs the others get. */
  readonly isOnce?: boolean;
  /** What its nodes have in their config.json beside the rest. */
  readonly config?: (options: BenchOptions) => Record<string, unknown>;
  run(context: CaseContext): Promise<FigureTable[]>;
}
