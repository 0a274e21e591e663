import { z } from 'zod';
import { LONGEST_TIMER_MS } from '#common/time/clock.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const DURATION_UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** A node's name: a UUID in text form, any case, kept in lower case. */
export const uuidField = z
  .string()
  .transform((text) => text.toLowerCase())
  .refine((text) => UUID.test(text), 'must be a UUID such as aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa');

export const portField = z.int().min(0).max(65_535);

/** Where something listens or is dialled. */
export const addressField = z.strictObject({ host: z.string().min(1), port: portField });

export type Address = z.infer<typeof addressField>;

export const pathField = z.string().min(1);

/** A duration such as "250ms", "10s", "5m" or "1h"; milliseconds inside. */
export function durationField(defaultText: string) {
  return z
    .string()
    .regex(/^\d+(ms|s|m|h)$/, 'must be a whole number with a unit, such as 250ms, 10s, 5m or 1h')
    .default(defaultText)
    .transform(parseDurationMs)
    .refine((ms) => ms <= LONGEST_TIMER_MS, 'must be at most 596h, as long as a timer runs');
}

/** Milliseconds of a text that matches the duration pattern. */
export function parseDurationMs(text: string): number {
  const match = /^(\d+)(ms|s|m|h)$/.exec(text);
  if (!match) throw new RangeError(`not a duration: ${text}`);
  return Number(match[1]) * DURATION_UNITS[match[2] as keyof typeof DURATION_UNITS];
}
