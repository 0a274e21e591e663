import type { Log, LogFields } from '#common/log/log.ts';
import { systemClock } from '#common/time/clock.ts';

/** Lines that one source may have at once. */
const BURST = 10;

/** After so long a source may have one line more. */
const REFILL_MS = 30_000;

/** Sources that are told apart; those beyond share their lines. */
const MAX_SOURCES = 1_024;

/** How long it takes at most until it is said what was left out. */
const REPORT_MS = 60_000;

const OTHERS = 'others';

interface Share {
  lines: number;
  /** When `lines` was right, on the monotonic clock. */
  atMs: number;
  /** Since the last line. */
  leftOut: number;
}

export interface LimitedLogOptions {
  log: Pick<Log, 'info' | 'warning'>;
  /** What the lines are about, in the plural: "refusals". */
  subject: string;
  /** Milliseconds of a monotonic clock. */
  now?: () => number;
}

/**
 * A log for what others cause as often as they like: of each source (a
 * client's address, a stream) ten lines at once and one each 30 s after that.
 * The next line of a source says how many were left out before it; where no
 * line follows, that is said within a minute.
 */
export class LimitedLog {
  readonly #log: LimitedLogOptions['log'];
  readonly #subject: string;
  readonly #now: () => number;
  readonly #shares = new Map<string, Share>();
  #report: NodeJS.Timeout | undefined;

  constructor({ log, subject, now = systemClock.monotonicMs }: LimitedLogOptions) {
    this.#log = log;
    this.#subject = subject;
    this.#now = now;
  }

  /** Logs the line unless `source` has had its share. */
  line(source: string, level: 'info' | 'warning', message: string, fields: LogFields = {}): void {
    const share = this.#shareOf(source);
    if (share.lines < 1) {
      share.leftOut += 1;
      this.#report ??= setTimeout(() => this.#tellLeftOut(), REPORT_MS).unref();
      return;
    }
    share.lines -= 1;
    const { leftOut } = share;
    share.leftOut = 0;
    this.#log[level](message, leftOut === 0 ? fields : { ...fields, leftOutBefore: leftOut });
  }

  /** Says what is left to say. */
  close(): void {
    this.#tellLeftOut();
  }

  #tellLeftOut(): void {
    clearTimeout(this.#report);
    this.#report = undefined;
    for (const [source, share] of this.#shares) {
      if (share.leftOut === 0) continue;
      this.#log.info(`${this.#subject} were left out`, { from: source, leftOut: share.leftOut });
      share.leftOut = 0;
    }
  }

  #shareOf(source: string): Share {
    const now = this.#now();
    const known = this.#shares.get(source);
    if (known) {
      const grown = known.lines + (now - known.atMs) / REFILL_MS;
      known.lines = Math.min(BURST, grown);
      known.atMs = now;
      return known;
    }
    if (this.#shares.size >= MAX_SOURCES) this.#forget(now);
    if (this.#shares.size >= MAX_SOURCES && source !== OTHERS) return this.#shareOf(OTHERS);
    const share: Share = { lines: BURST, atMs: now, leftOut: 0 };
    this.#shares.set(source, share);
    return share;
  }

  /** Forgets whose share would be whole again. */
  #forget(now: number): void {
    for (const [source, { lines, atMs, leftOut }] of this.#shares) {
      const whole = lines + (now - atMs) / REFILL_MS >= BURST;
      if (whole && leftOut === 0) this.#shares.delete(source);
    }
  }
}
