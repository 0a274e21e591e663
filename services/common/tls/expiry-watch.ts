import type { Log } from '#common/log/log.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';
import { DAY_MS } from '#common/time/durations.ts';
import {
  DATE_STATES,
  type DatedCertificate,
  type DateState,
  dateProblem,
  dateStateOf,
  dateText,
} from '#common/tls/certificate-dates.ts';

const LOOK_MS = 2_000;

/** What the log is told of each state; nothing of the good. */
const LINES: Readonly<Partial<Record<DateState, ['warning' | 'error', string]>>> = {
  ending: ['warning', 'ends soon: less than a quarter of its life is left'],
  'last-day': ['error', 'ends within a day'],
  expired: ['error', 'is out of date'],
  'not-yet': ['error', "is not valid yet: is this machine's clock right?"],
};

export interface ExpiryWatchOptions {
  /** Those in use now. */
  certificates: () => readonly DatedCertificate[];
  /** Which of them are for the log; by default all. */
  isLogged?: (certificate: DatedCertificate) => boolean;
  /** Told whenever the problem is another one; undefined when it is over. */
  onProblem?: (problem: string | undefined) => void;
  log: Pick<Log, 'warning' | 'error'>;
  clock?: Clock;
}

export interface ExpiryWatch {
  /** What is out of date, so that the service cannot do its part; undefined when nothing is. */
  problem(): string | undefined;
  close(): void;
}

/**
 * Tells the operator of certificates that come to their end: a line when a
 * quarter of the life is left, then daily, an error in the last day and
 * afterwards. The dates are compared with the wall clock, which may be set at
 * any moment; the days between the lines are the monotonic clock's.
 */
export function watchExpiry(options: ExpiryWatchOptions): ExpiryWatch {
  const { certificates, isLogged = () => true, onProblem, log, clock = systemClock } = options;
  /** What was last said of each, and when by the monotonic clock. */
  let said = new Map<string, { state: DateState; atMs: number }>();
  let lastProblem: string | undefined;

  function look(): void {
    const nowMs = clock.monotonicMs();
    const wallMs = clock.wallMs();
    const current = certificates();
    const kept: typeof said = new Map();
    for (const certificate of current.filter(isLogged)) {
      const { kind, path, who, notAfterMs, notBeforeMs } = certificate;
      const key = `${path} ${who} ${notBeforeMs} ${notAfterMs}`;
      const state = dateStateOf(certificate, wallMs);
      const line = LINES[state];
      if (!line) continue;
      const last = said.get(key);
      const isWorse = !last || DATE_STATES.indexOf(state) > DATE_STATES.indexOf(last.state);
      const isDue = last !== undefined && nowMs - last.atMs >= DAY_MS;
      if (last && !isWorse && !isDue) {
        kept.set(key, last);
        continue;
      }
      kept.set(key, { state, atMs: nowMs });
      const what = kind === 'list' ? 'a revocation list' : 'a certificate';
      log[line[0]](`${what} ${line[1]}`, {
        path,
        of: who,
        until: dateText(notAfterMs),
        daysLeft: Math.floor((notAfterMs - wallMs) / DAY_MS),
      });
    }
    said = kept;
    const problem = dateProblem(current, wallMs);
    if (problem !== lastProblem) {
      lastProblem = problem;
      onProblem?.(problem);
    }
  }

  look();
  const timer = setInterval(look, LOOK_MS);
  timer.unref();
  return {
    problem: () => dateProblem(certificates(), clock.wallMs()),
    close: () => clearInterval(timer),
  };
}
