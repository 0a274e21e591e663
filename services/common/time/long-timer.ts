/** Longest delay that a timer of the run time takes, some 24 days; a longer one fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface LongTimer {
  /** It will not fire any more; safe to repeat. */
  cancel(): void;
}

/** Calls `act` once, after `ms` however long that is. Keeps no process alive. */
export function afterMs(ms: number, act: () => void): LongTimer {
  let timer: NodeJS.Timeout;
  const wait = (left: number) => {
    const part = Math.min(left, LONGEST_TIMER_MS);
    timer = setTimeout(() => (part < left ? wait(left - part) : act()), part).unref();
  };
  wait(ms);
  return { cancel: () => clearTimeout(timer) };
}
