import { systemClock } from '#common/time/clock.ts';

/** npx and shells pass a Ctrl-C on that the terminal has sent to all: that is still the first. */
const SAME_PRESS_MS = 300;

/** The statuses that shells give to what a signal has ended. */
export const SIGNAL_STATUS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export type StopSignal = keyof typeof SIGNAL_STATUS;

/** Calls `first` once, at the first of the signals, and `again` at each that comes later. */
export function onStopSignals(
  signals: readonly StopSignal[],
  { first, again }: { first: (signal: StopSignal) => void; again: (signal: StopSignal) => void },
): void {
  let firstMs: number | undefined;
  for (const signal of signals) {
    process.on(signal, () => {
      const now = systemClock.monotonicMs();
      if (firstMs === undefined) {
        firstMs = now;
        first(signal);
      } else if (now - firstMs > SAME_PRESS_MS) again(signal);
    });
  }
}
