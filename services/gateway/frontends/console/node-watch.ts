import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isUnspecified } from '#common/net/same-host.ts';
import { lookOf, type Pages, readPages } from '#common/status/look.ts';
import { type Look, type NodeStatus, nodeStatus } from '#common/status/node-status.ts';
import { systemClock } from '#common/time/clock.ts';

/** Rates are of so many looks back. */
const LOOKS = 4;

/** What was seen is shown for so long where nobody answers: one look that fails is not the end of the node. */
const SHOWN_MS = 10_000;

const SWITCHED_OFF =
  'Metrics are off: peers, services, speeds and certificates are shown where config.json has the sections health and telemetry.';

/** What the node as a whole tells of itself, all its processes together, at its health ports. */
export interface NodeNow {
  /** Undefined where there are no metrics. */
  readonly status: NodeStatus | undefined;
  /** Why, in words. */
  readonly missing: string | undefined;
}

/** Asks the health ports of the own node, one look at a time. */
export class NodeWatch {
  readonly #addresses: readonly Address[];
  readonly #read: (address: Address) => Promise<Pages>;
  readonly #nowMs: () => number;
  readonly #looks: Look[] = [];
  #now: NodeNow;
  #isLooking = false;

  /** @param addresses none: the node shows no metrics. */
  constructor(addresses: readonly Address[], read = readPages, nowMs = systemClock.monotonicMs) {
    this.#addresses = addresses;
    this.#read = read;
    this.#nowMs = nowMs;
    const missing = addresses.length === 0 ? SWITCHED_OFF : 'The metrics have not been read yet.';
    this.#now = { status: undefined, missing };
  }

  get now(): NodeNow {
    return this.#now;
  }

  /** Looks anew, unless that is under way; never rejects. */
  async look(): Promise<void> {
    if (this.#isLooking || this.#addresses.length === 0) return;
    this.#isLooking = true;
    try {
      const outcomes = await Promise.allSettled(this.#addresses.map((address) => this.#read(address)));
      this.#take(outcomes);
    } finally {
      this.#isLooking = false;
    }
  }

  #take(outcomes: readonly PromiseSettledResult<Pages>[]): void {
    const pages = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    const problems = outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [KeyweaveError.from(outcome.reason).detail] : [],
    );
    if (pages.length === 0) {
      const { atMs } = this.#looks.at(-1) ?? {};
      if (atMs !== undefined && this.#nowMs() - atMs < SHOWN_MS) return;
      this.#now = { status: undefined, missing: problems.join('; ') };
      return;
    }
    const later = lookOf(pages);
    this.#looks.push(later);
    if (this.#looks.length > LOOKS) this.#looks.shift();
    const status = nodeStatus(this.#looks[0] as Look, later);
    this.#now = { status: { ...status, problems: [...problems, ...status.problems] }, missing: undefined };
  }
}

/** Where the metrics of the node are: as the console's section says, else at the own health port. */
export function healthPortsOf({ listeners, health, telemetry }: NodeConfig): readonly Address[] {
  const named = listeners.console?.health;
  if (named) return named;
  // One that the system chooses is not known here.
  if (!telemetry?.metrics || !health || health.port === 0) return [];
  return [{ host: isUnspecified(health.host) ? '127.0.0.1' : health.host, port: health.port }];
}
