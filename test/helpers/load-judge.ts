import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { breaches, countDeliveries, type HistoryEntry, recoveryMs } from './delivery-history.ts';
import { KEY_BYTES, type LoadSink, type Loss } from './pair-load.ts';

/** What must go well for the network to count as calm. */
const CALM_MS = 1_500;

export const RECOVERY_LIMIT_MS = 10_000;

/** What a stretch of time looked like to the applications. */
export interface Judgement {
  /** Lines of `breaches`, over the whole history. */
  readonly breaches: readonly string[];
  /** From the end of the trouble; undefined: not within the limit. */
  readonly recoveryMs: number | undefined;
  /** Requests while it lasted, and those that brought no key. */
  readonly requests: number;
  readonly failed: number;
  /** Streams that were lost since it began: between whom, and the node's words. */
  readonly lost: readonly { readonly between: readonly string[]; readonly message: string }[];
}

/** What applications that fetch keys all along have seen, and what is to be said of it. */
export class LoadJudge implements LoadSink {
  readonly #history: HistoryEntry[] = [];
  readonly #losses: Loss[] = [];
  readonly #applications: number;

  /** @param applications how many there are, for none of whom silence counts as calm. */
  constructor(applications: number) {
    this.#applications = applications;
  }

  answered(entry: HistoryEntry): void {
    this.#history.push(entry);
  }

  lost(loss: Loss): void {
    this.#losses.push(loss);
  }

  get deliveries(): { both: number; alone: number } {
    return countDeliveries(this.#history);
  }

  /** What was answered since then, in the order in which it came. */
  since(fromMs: number): HistoryEntry[] {
    return this.#history.filter(({ answeredMs }) => answeredMs >= fromMs);
  }

  /** Keeps the history, digests only. */
  write(path: string): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, this.#history.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  }

  /**
   * Runs `trouble` under load once things are calm, waits for calm after it, and judges.
   *
   * @param trouble is given a way to ask whether some application has felt it yet.
   */
  async judge(trouble: (felt: () => boolean) => Promise<void>): Promise<Judgement> {
    await this.#calmSince(Date.now());
    const beganMs = Date.now();
    await trouble(() => this.since(beganMs).some(({ status }) => status !== 0));
    const endedMs = Date.now();
    const calm = await this.#calmSince(endedMs);
    const during = this.since(beganMs).filter(({ answeredMs }) => answeredMs < endedMs);
    return {
      breaches: breaches(this.#history, KEY_BYTES),
      recoveryMs: calm ? recoveryMs(this.#history, endedMs) : undefined,
      requests: during.length,
      failed: during.filter(({ status }) => status !== 0).length,
      lost: this.#losses.filter(({ atMs }) => atMs >= beganMs),
    };
  }

  /** Waits until every application has had only keys for a while; false when that takes too long. */
  async #calmSince(fromMs: number): Promise<boolean> {
    const end = fromMs + RECOVERY_LIMIT_MS + CALM_MS;
    while (Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const since = Date.now() - CALM_MS;
      if (since < fromMs) continue;
      const recent = this.since(since).filter(({ op }) => op === 'GET_KEY');
      const served = new Set(recent.map(({ application }) => application));
      if (served.size === this.#applications && recent.every(({ status }) => status === 0)) return true;
    }
    return false;
  }
}
