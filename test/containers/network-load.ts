import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { breaches, countDeliveries, type HistoryEntry, recoveryMs } from '../helpers/delivery-history.ts';
import { HOME, PAIRS } from './container-network.ts';
import { KEY_BYTES, PairLoad } from './pair-load.ts';

/** Over all pairs of nodes, at each end. */
const KEYS_PER_SECOND = 51;

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

/** Applications at all three nodes that fetch keys all along, and what they have seen. */
export class NetworkLoad {
  readonly #history: HistoryEntry[] = [];
  #loads: readonly PairLoad[] = [];

  private constructor() {}

  static async start(): Promise<NetworkLoad> {
    const load = new NetworkLoad();
    const keysPerSecond = KEYS_PER_SECOND / PAIRS.length;
    load.#loads = await Promise.all(
      PAIRS.map((between) => PairLoad.start({ between, keysPerSecond, history: load.#history })),
    );
    return load;
  }

  /** Stops the applications and keeps their history, digests only, under `.cache/containers`. */
  async stop(name: string): Promise<void> {
    await Promise.all(this.#loads.map((load) => load.stop()));
    const folder = join(HOME, '.cache', 'containers');
    mkdirSync(folder, { recursive: true });
    const lines = this.#history.map((entry) => `${JSON.stringify(entry)}\n`);
    writeFileSync(join(folder, `${name}.jsonl`), lines.join(''));
  }

  get deliveries(): { both: number; alone: number } {
    return countDeliveries(this.#history);
  }

  /**
   * Runs `trouble` under load once things are calm, waits for calm after it, and judges.
   *
   * @param trouble is given a way to ask whether some application has felt it yet.
   */
  async judge(trouble: (felt: () => boolean) => Promise<void>): Promise<Judgement> {
    await this.#calmSince(Date.now());
    const beganMs = Date.now();
    await trouble(() => this.#history.some((entry) => entry.answeredMs >= beganMs && entry.status !== 0));
    const endedMs = Date.now();
    const calm = await this.#calmSince(endedMs);
    const during = this.#history.filter(({ answeredMs }) => answeredMs >= beganMs && answeredMs < endedMs);
    return {
      breaches: breaches(this.#history, KEY_BYTES),
      recoveryMs: calm ? recoveryMs(this.#history, endedMs) : undefined,
      requests: during.length,
      failed: during.filter(({ status }) => status !== 0).length,
      lost: this.#loads.flatMap(({ between, losses }) =>
        losses.filter(({ atMs }) => atMs >= beganMs).map(({ message }) => ({ between, message })),
      ),
    };
  }

  /** Waits until every application has had only keys for a while; false when that takes too long. */
  async #calmSince(fromMs: number): Promise<boolean> {
    const applications = 2 * PAIRS.length;
    const end = fromMs + RECOVERY_LIMIT_MS + CALM_MS;
    while (Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const since = Date.now() - CALM_MS;
      if (since < fromMs) continue;
      const recent = this.#history.filter(({ op, answeredMs }) => op === 'GET_KEY' && answeredMs >= since);
      const served = new Set(recent.map(({ application }) => application));
      if (served.size === applications && recent.every(({ status }) => status === 0)) return true;
    }
    return false;
  }
}
