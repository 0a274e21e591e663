import { z } from 'zod';
import { UUID } from '#common/ids/uuid.ts';
import { LONGEST_TIMER_MS } from '#common/time/clock.ts';
import { DURATION, parseDurationMs } from '#common/time/durations.ts';

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
    .regex(DURATION, 'must be a whole number with a unit, such as 250ms, 10s, 5m or 1h')
    .default(defaultText)
    .transform(parseDurationMs)
    .refine((ms) => ms <= LONGEST_TIMER_MS, 'must be at most 596h, as long as a timer runs');
}
