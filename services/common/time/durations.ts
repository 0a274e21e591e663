/** A day, milliseconds. */
export const DAY_MS = 86_400_000;

const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

type Unit = keyof typeof UNITS_MS;

/** A duration in text: a whole number and a unit, such as "250ms", "10s", "5m" or "1h". */
export const DURATION = /^(\d+)(ms|s|m|h)$/;

/** Milliseconds of a duration in text. @throws RangeError for any other text. */
export function parseDurationMs(text: string): number {
  const [, count, unit] = DURATION.exec(text) ?? [];
  if (unit === undefined) throw new RangeError(`not a duration: ${text}`);
  return Number(count) * UNITS_MS[unit as Unit];
}
