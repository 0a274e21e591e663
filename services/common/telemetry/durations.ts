import type { Attributes } from '@opentelemetry/api';
import { systemClock } from '#common/time/clock.ts';

/**
 * Upper bounds of the buckets of durations, seconds: from what a service on
 * the own machine needs to what a slow KEM or an application that waits does.
 */
export const DURATION_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120,
];

/** Where durations of one set of labels are recorded. */
export interface Durations {
  record(seconds: number): void;
}

export interface DurationHistogram {
  /** Asked once for each set of labels, not for each duration; the same labels have the same place. */
  of(labels: Attributes): Durations;
}

/** A histogram of a name that no other instrument has. */
export type MakeDurations = (name: string, description: string) => DurationHistogram;

/** The places of a histogram by the values of its labels, of which there are few. */
export class LabelledDurations {
  readonly #histogram: DurationHistogram;
  readonly #names: readonly string[];
  readonly #constant: Attributes;
  readonly #places = new Map<string, Durations>();

  /** @param constant labels that are the same in all places. */
  constructor(histogram: DurationHistogram, names: readonly string[], constant: Attributes = {}) {
    this.#histogram = histogram;
    this.#names = names;
    this.#constant = constant;
  }

  /** @param values of the labels, in the order of their names. */
  of(...values: readonly string[]): Durations {
    const key = values.join('\n');
    const known = this.#places.get(key);
    if (known) return known;
    const labels = Object.fromEntries(this.#names.map((name, i) => [name, values[i]]));
    const place = this.#histogram.of({ ...this.#constant, ...labels });
    this.#places.set(key, place);
    return place;
  }
}

/** @param startedMs by the monotonic clock. */
export function secondsSince(startedMs: number): number {
  return (systemClock.monotonicMs() - startedMs) / 1000;
}
