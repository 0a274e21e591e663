import { isIP } from 'node:net';
import { z } from 'zod';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';
import { isSubnet } from '#common/net/own-address.ts';
import { LONGEST_TIMER_MS } from '#common/time/clock.ts';
import { DURATION, parseDurationMs } from '#common/time/durations.ts';

/** Nothing that goes over a network is done in less: such a limit would fail every request. */
const SHORTEST_LIMIT_MS = 10;

/** What is wrong with a key of a file. */
export interface Fault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** A node's name: a UUID in text form, any case, kept in lower case. */
export const uuidField = z
  .string()
  .regex(UUID_ANY_CASE, 'must be a UUID such as aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa')
  .transform((text) => text.toLowerCase());

export const portField = z.int().min(0).max(65_535);

/** What something is dialled or bound by: an IP address or a host name (RFC 1123; underscores, as Compose makes them, too). */
export const hostField = hostLike(() => undefined, '^[^\\s/\\[\\]]+$');

/** What something binds to: a host, or a subnet that stands for the own address in it. */
export const listenHostField = hostLike((text) => (isSubnet(text) ? text : undefined), '^[^\\s\\[\\]]+$');

/** Where something is dialled, or listens. */
export const addressField = z.strictObject({ host: hostField, port: portField });

/** Where something listens; the host may be a subnet. */
export const listenAddressField = z.strictObject({ host: listenHostField, port: portField });

export type Address = z.infer<typeof addressField>;

/** An http or https URL without user, query or fragment. */
export const urlField = z.string().refine((text) => isPlainUrl(text), {
  error: 'must be a URL such as https://collector.example:4318, without user, query and fragment',
});

export const pathField = z.string().min(1);

/** A duration such as "250ms", "10s", "5m" or "1h"; milliseconds inside. */
export function durationField(defaultText: string, shortestMs = SHORTEST_LIMIT_MS) {
  return z
    .string()
    .regex(DURATION, 'must be a whole number with a unit, such as 250ms, 10s, 5m or 1h')
    .default(defaultText)
    .transform(parseDurationMs)
    .refine((ms) => ms >= shortestMs, `must be at least ${shortestMs}ms: with less every request fails`)
    .refine((ms) => ms <= LONGEST_TIMER_MS, 'must be at most 596h, as long as a timer runs');
}

function isPlainUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && `${username}${password}${search}${hash}` === '';
}

const LABEL = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?';
const NAME = new RegExp(`^(?=.{1,253}$)(?:${LABEL}\\.)*${LABEL}\\.?$`, 'i');
/** What ends so is meant for an IPv4 address (WHATWG URL, "ends in a number"), and none. */
const ENDS_IN_NUMBER = /(?:^|\.)\d+\.?$/;

function hostLike(also: (text: string) => string | undefined, pattern: string) {
  return z
    .string()
    .min(1)
    .refine((text) => also(text) !== undefined || hostProblem(text) === undefined, {
      error: ({ input }) => hostProblem(String(input)) ?? '',
    })
    .meta({ pattern });
}

/** What keeps a text from being a host; undefined where nothing does. */
function hostProblem(text: string): string | undefined {
  if (isIP(text) !== 0) return undefined;
  if (/\s/.test(text)) return 'must have no blanks';
  if (text.includes('://')) return 'must be a host alone, without a scheme such as http://';
  if (/[[\]]/.test(text)) return 'must be without brackets, also where it is an IPv6 address';
  if (ENDS_IN_NUMBER.test(text)) return 'is no IP address, though it ends as one does';
  if (/:\d+$/.test(text)) return 'must be a host alone; the port has a key of its own';
  return NAME.test(text) ? undefined : 'must be an IP address or a host name';
}
