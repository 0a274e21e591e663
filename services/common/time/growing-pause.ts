/**
 * Pause before another attempt, ms: `firstMs`, and twice as long after each
 * further failure, up to `mostMs`.
 * @param times failures before this one; 0 and more.
 */
export function growingPause(times: number, firstMs: number, mostMs: number): number {
  return Math.min(mostMs, firstMs * 2 ** Math.min(30, times));
}
