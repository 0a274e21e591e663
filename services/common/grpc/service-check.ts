import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { GrpcConnection, ServiceClient } from '#common/grpc/client.ts';
import type { Problem } from '#common/service/readiness.ts';
import { systemClock } from '#common/time/clock.ts';
import { HealthCheckResponse_ServingStatus, HealthDefinition } from '#gen/grpc/health/v1/health.ts';

/** Less than a readiness check may take, so that what is wrong can still be told. */
const TIMEOUT_MS = 800;

/** However often it is asked, the service is called once in this time at most. */
const MAX_AGE_MS = 1_000;

/** A replica that is just stopping says so itself; the next call goes to another one. */
const ATTEMPTS = 2;

const WORDS: Partial<Record<ErrorReason, string>> = {
  TIMEOUT: 'does not answer',
  NOT_ALLOWED: 'refuses this service; look at the lists of callers and the certificates',
};

/**
 * A readiness check: whether the service at the far end of `connection` can be reached, and serves.
 *
 * @param now milliseconds of a monotonic clock.
 */
export function serviceCheck(
  connection: Pick<GrpcConnection, 'client'>,
  now: () => number = systemClock.monotonicMs,
): () => Promise<Problem> {
  const health = connection.client(HealthDefinition);
  let found: Promise<Problem> = Promise.resolve(undefined);
  let askedMs = Number.NEGATIVE_INFINITY;

  return () => {
    if (now() - askedMs >= MAX_AGE_MS) {
      askedMs = now();
      found = ask(health);
    }
    return found;
  };
}

async function ask(health: ServiceClient<HealthDefinition>): Promise<Problem> {
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { status } = await health.check({ service: '' }, { timeoutMs: TIMEOUT_MS / ATTEMPTS });
      if (status === HealthCheckResponse_ServingStatus.SERVING) return undefined;
    }
    return 'says that it is not ready';
  } catch (error) {
    return WORDS[KeyweaveError.from(error).reason] ?? 'cannot be reached';
  }
}
