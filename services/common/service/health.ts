import type { CallContext } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { callerOf } from '#common/grpc/callers.ts';
import type { Readiness } from '#common/service/readiness.ts';
import { pause } from '#common/time/wait-for.ts';
import {
  type HealthCheckRequest,
  HealthCheckResponse_ServingStatus,
  type HealthServiceImplementation,
} from '#gen/grpc/health/v1/health.ts';

type ServingStatus = HealthCheckResponse_ServingStatus;
const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;

/** Watches that one caller may have open at a server. */
export const MAX_WATCHES = 4;

/** How often a watch looks; a change is told within this time. */
const WATCH_INTERVAL_MS = 1_000;

export interface HealthServiceOptions {
  /** Full names of the gRPC services of the server; the process as a whole has the empty name. */
  names: readonly string[];
  readiness: Pick<Readiness, 'problems'>;
  /** Fires when the server's stop begins. */
  stopping: AbortSignal;
  watchIntervalMs?: number;
}

/**
 * The standard health service. All services of a process stand and fall
 * together, with its readiness.
 */
export function healthService(options: HealthServiceOptions): HealthServiceImplementation {
  const { readiness, stopping, watchIntervalMs = WATCH_INTERVAL_MS } = options;
  const names: readonly string[] = ['', ...options.names];
  /** Open watches by caller. */
  const watches = new Map<string, number>();

  const statusNow = async (): Promise<ServingStatus> => {
    const ready = !stopping.aborted && (await readiness.problems()).length === 0;
    return ready && !stopping.aborted ? SERVING : NOT_SERVING;
  };

  return {
    async check({ service }: HealthCheckRequest) {
      if (!names.includes(service)) {
        throw new KeyweaveError(
          'UNKNOWN_SERVICE',
          `this server has no service of that name; it has ${options.names.join(', ')}`,
        );
      }
      return { status: await statusNow() };
    },

    async list() {
      const status = await statusNow();
      return { statuses: Object.fromEntries(names.map((name) => [name, { status }])) };
    },

    // The signal fires when the caller leaves, and at every stream's when the server stops.
    async *watch({ service }: HealthCheckRequest, { metadata, signal }: CallContext) {
      const leave = enter(watches, callerOf(metadata));
      try {
        const known = names.includes(service);
        let told: ServingStatus | undefined;
        while (!signal.aborted) {
          const status = known ? await statusNow() : SERVICE_UNKNOWN;
          if (status !== told) yield { status };
          told = status;
          await pause(watchIntervalMs, signal);
        }
        if (known && told !== NOT_SERVING) yield { status: NOT_SERVING };
      } finally {
        leave();
      }
    },
  };
}

/** Counts a watch of `caller`. @returns ends the count. @throws KeyweaveError LIMIT_EXCEEDED */
function enter(watches: Map<string, number>, caller: string): () => void {
  const open = watches.get(caller) ?? 0;
  if (open >= MAX_WATCHES) {
    throw new KeyweaveError(
      'LIMIT_EXCEEDED',
      `${MAX_WATCHES} health watches of this caller are open; end one of them`,
    );
  }
  watches.set(caller, open + 1);
  return () => {
    const left = (watches.get(caller) as number) - 1;
    if (left === 0) watches.delete(caller);
    else watches.set(caller, left);
  };
}
