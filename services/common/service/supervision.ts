import type { ErrorReason } from '#common/errors/status-table.ts';
import type { RunningService } from '#common/service/service-context.ts';

/** What a service tells the supervisor that started it. */
export type ServiceMessage =
  | { type: 'ready'; listening: RunningService['listening'] }
  /** `systemCode`, such as EADDRINUSE, where the system was the cause. */
  | { type: 'failed'; reason: ErrorReason; detail: string; systemCode?: string }
  /** The answer to the question of that name. */
  | { type: 'readiness'; problems: readonly string[] }
  /** The same of metrics, in Prometheus' text format; empty where there are none. */
  | { type: 'metrics'; text: string }
  /** It got a signal to stop: alone, or with the whole process group. */
  | { type: 'signalled' };

/** What a supervisor tells or asks the service that it started. */
export type SupervisorMessage =
  /** The files that it reads and the certificates are there: it may start. */
  { type: 'start' } | { type: 'readiness' } | { type: 'metrics' } | { type: 'stop' } | { type: 'reopen-log' };
