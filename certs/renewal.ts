import type { NodeConfig } from '#common/config/node-config.ts';
import type { Log } from '#common/log/log.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';
import { hasCaKey } from './ca-key.ts';
import { renewWhereDue } from './ensure.ts';

const LOOK_MS = 10_000;
const RETRY_MS = 60_000;
/** A failure that lasts is told this often. */
const COMPLAINT_MS = 3_600_000;

export interface Renewal {
  close(): void;
}

/**
 * Renews the services' certificates while the process runs, where the key of
 * the CA lies beside it; the services load them by themselves. Looks at the
 * wall clock every ten seconds of the monotonic one. A failure is told at
 * once, and then hourly, and tried again each minute. Keeps no process alive.
 */
export function startRenewal(
  config: NodeConfig,
  services: readonly string[],
  { log, clock = systemClock }: { log: Pick<Log, 'info' | 'warning'>; clock?: Clock },
): Renewal {
  let busy = false;
  let nextMs = Number.NEGATIVE_INFINITY;
  let complainMs = Number.NEGATIVE_INFINITY;

  async function look(): Promise<void> {
    const nowMs = clock.monotonicMs();
    if (busy || nowMs < nextMs || !hasCaKey(config.certificate_config.cert_authority_path)) return;
    busy = true;
    try {
      await renewWhereDue(config, services, log, clock.wallMs());
    } catch (error) {
      nextMs = nowMs + RETRY_MS;
      if (nowMs >= complainMs) {
        complainMs = nowMs + COMPLAINT_MS;
        log.warning('certificates could not be renewed', {}, error);
      }
    } finally {
      busy = false;
    }
  }

  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
