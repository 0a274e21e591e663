/**
 * Upper bounds of the buckets of durations, seconds: from what a service on
 * the own machine needs to what a slow KEM or an application that waits does.
 */
export const DURATION_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120,
];

/** Options of a histogram of durations. */
export const DURATIONS = { unit: 's', advice: { explicitBucketBoundaries: DURATION_BUCKETS } };
