import { constants, getPriority, setPriority } from 'node:os';

/** Steps of priority below the gateway's; each is worth about a quarter of the time on a core. */
const STEPS = 5;

/**
 * Has this service, which makes keys, leave the cores to the gateway of the
 * same machine, which delivers them: a key that lies ready is not to wait for
 * those that are made ahead. Without effect where the system does not allow it.
 */
export function yieldCores(): void {
  try {
    setPriority(Math.min(constants.priority.PRIORITY_LOW, getPriority() + STEPS));
  } catch {
    // It competes on equal terms.
  }
}
