import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { KEY_BYTES } from './applications.ts';

export interface Evidence {
  readonly history: readonly HistoryEntry[];
  /** Streams of which an application has named indexes. */
  readonly named: ReadonlySet<string>;
  /** What applications and watchers have noted while it ran. */
  readonly complaints: readonly string[];
  /** Applications that have had no key since the faults ended. */
  readonly unserved: readonly string[];
  /** What gateways hold when everybody has closed. */
  readonly left: readonly string[];
  /** Secrets that were not wiped. */
  readonly secrets: readonly string[];
  /** QKD streams that are open at the key managers. */
  readonly qkd: readonly string[];
}

/** What must never be, one line each. */
export function judge({ history, named, complaints, unserved, left, secrets, qkd }: Evidence): string[] {
  return [
    ...breaches(history, KEY_BYTES, (ksid) => named.has(ksid)),
    ...new Set(complaints),
    ...unserved.map((name) => `${name} gets no keys though nothing is wrong any more`),
    ...left.map((what) => `left when everybody had closed: ${what}`),
    ...counted(secrets).map((what) => `not wiped: ${what}`),
    ...(qkd.length > 0 ? [`${qkd.length} QKD streams were left open`] : []),
  ];
}

function counted(names: readonly string[]): string[] {
  return [...Map.groupBy(names, (name) => name)].map(([name, all]) => `${all.length} times ${name}`);
}
