import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Address } from '#common/config/fields.ts';
import type { OpenData } from '#common/etsi/etsi004-json-codec.ts';
import type { HistoryEntry } from './delivery-history.ts';

/** An honest pair of applications and what they open. */
export interface SteadyPair {
  readonly source: Address;
  readonly destination: Address;
  readonly data: OpenData;
}

export interface SteadyReport {
  /** What was asked and answered since the last report. */
  readonly entries: HistoryEntry[];
  /**
   * The longest GET_KEY since the last report: milliseconds from sending to
   * the answer, and what is left of them (`ms`) without those in which the
   * reader or a service had to wait for a processor of the machine.
   */
  readonly longest: {
    readonly ms: number;
    readonly wholeMs: number;
    readonly ksid: string;
    readonly end: 0 | 1;
  };
}

/** What the thread tells. */
export type SteadyMessage = { ksids: string[] } | SteadyReport;

/**
 * Reads streams at both ends at a steady pace, in a thread of its own, so that
 * whatever else the test does costs the answers no time.
 */
export class SteadyReaders {
  readonly ksids: readonly string[];
  readonly #worker: Worker;

  private constructor(worker: Worker, ksids: readonly string[]) {
    this.#worker = worker;
    this.ksids = ksids;
  }

  /**
   * Rejects when a stream cannot be opened.
   *
   * @param everyMs pace of each end of each stream.
   * @param pids processes of the services that the answers depend on.
   */
  static async start(
    pairs: readonly SteadyPair[],
    everyMs: number,
    pids: readonly number[],
  ): Promise<SteadyReaders> {
    const worker = new Worker(new URL('./steady-readers-thread.ts', import.meta.url), {
      workerData: { pairs, everyMs, pids },
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    const [{ ksids }] = (await once(worker, 'message')) as [{ ksids: string[] }];
    return new SteadyReaders(worker, ksids);
  }

  /** What has happened since the last report. Rejects when the thread has failed. */
  async report(): Promise<SteadyReport> {
    const answer = once(this.#worker, 'message');
    this.#worker.postMessage('report');
    return (await answer)[0] as SteadyReport;
  }

  /** Closes the streams and ends the thread; the last report. */
  async stop(): Promise<SteadyReport> {
    const answer = once(this.#worker, 'message');
    const exited = once(this.#worker, 'exit');
    this.#worker.postMessage('stop');
    const report = (await answer)[0] as SteadyReport;
    await exited;
    return report;
  }
}
