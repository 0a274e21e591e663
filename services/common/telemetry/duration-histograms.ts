import { type Attributes, ValueType } from '@opentelemetry/api';
import { hrTime, type InstrumentationScope, millisToHrTime } from '@opentelemetry/core';
import type { Resource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  type HistogramMetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';
import { DURATION_BUCKETS, type DurationHistogram, type Durations } from '#common/telemetry/durations.ts';
import { systemClock } from '#common/time/clock.ts';

const SCOPE: InstrumentationScope = { name: 'keyweave' };

interface NamedHistogram {
  readonly name: string;
  readonly description: string;
  /** By their labels. */
  readonly places: Map<string, Counted>;
}

/** Durations of one set of labels since the start. */
class Counted implements Durations {
  readonly labels: Attributes;
  readonly counts = new Array<number>(DURATION_BUCKETS.length + 1).fill(0);
  count = 0;
  sum = 0;

  constructor(labels: Attributes) {
    this.labels = labels;
  }

  record(seconds: number): void {
    let bucket = 0;
    // Most are in the first buckets. A bound belongs to the bucket below it.
    while (bucket < DURATION_BUCKETS.length && seconds > (DURATION_BUCKETS[bucket] as number)) bucket += 1;
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
    this.count += 1;
    this.sum += seconds;
  }
}

/**
 * Histograms of what every key pays for. The library's own sort, print and
 * look up the labels at each record, which takes longer than giving the key
 * does; here whoever records holds the place for its labels.
 */
export class DurationHistograms implements MetricProducer {
  readonly #resource: Resource;
  readonly #startTime = millisToHrTime(systemClock.wallMs());
  readonly #histograms: NamedHistogram[] = [];

  constructor(resource: Resource) {
    this.#resource = resource;
  }

  /** A histogram of a name that no other instrument has. */
  create(name: string, description: string): DurationHistogram {
    const places = new Map<string, Counted>();
    this.#histograms.push({ name, description, places });
    return {
      of: (labels) => {
        const key = JSON.stringify(Object.entries(labels).toSorted());
        const place = places.get(key) ?? new Counted(labels);
        places.set(key, place);
        return place;
      },
    };
  }

  async collect(): Promise<CollectionResult> {
    const metrics = this.#histograms.map((histogram) => this.#dataOf(histogram));
    const told = metrics.filter(({ dataPoints }) => dataPoints.length > 0);
    return {
      resourceMetrics: { resource: this.#resource, scopeMetrics: [{ scope: SCOPE, metrics: told }] },
      errors: [],
    };
  }

  #dataOf({ name, description, places }: NamedHistogram): HistogramMetricData {
    const times = { startTime: this.#startTime, endTime: hrTime() };
    return {
      descriptor: { name, description, unit: 's', valueType: ValueType.DOUBLE },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: [...places.values()]
        .filter(({ count }) => count > 0)
        .map(({ labels, counts, count, sum }) => ({
          ...times,
          attributes: labels,
          value: { buckets: { boundaries: DURATION_BUCKETS, counts: [...counts] }, count, sum },
        })),
    };
  }
}
