import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** What became of one of several things that were done together: it, or why not. */
export type Outcome<T> = T | KeyweaveError;

/** Whether it came to something. */
export function isSound<T>(outcome: Outcome<T>): outcome is T {
  return !(outcome instanceof KeyweaveError);
}

/** What `work` gives, or the failure it throws. */
export function outcomeOf<T>(work: () => T): Outcome<T> {
  try {
    return work();
  } catch (thrown) {
    return KeyweaveError.from(thrown);
  }
}

/** What `work` resolves to, or the failure it rejects with; never rejects. */
export async function settled<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return await work();
  } catch (thrown) {
    return KeyweaveError.from(thrown);
  }
}

/** Each thing that is sound so far, taken one step further; failures stay where they are. */
export function mapSound<T, U>(
  outcomes: readonly Outcome<T>[],
  step: (each: T, i: number) => U,
): Outcome<U>[] {
  return outcomes.map((outcome, i) => (isSound(outcome) ? outcomeOf(() => step(outcome, i)) : outcome));
}

/**
 * The same for a step that takes all of them together and gives an outcome for
 * each, in their order. Where the step fails as a whole all of them have
 * failed; where it gives too few outcomes, those that are left without one.
 */
export async function mapTogether<T, U>(
  outcomes: readonly Outcome<T>[],
  step: (sound: T[]) => Promise<readonly Outcome<U>[]>,
): Promise<Outcome<U>[]> {
  const sound = outcomes.filter(isSound);
  if (sound.length === 0) return outcomes as KeyweaveError[];
  const results = await settled(() => step(sound));
  let next = 0;
  return outcomes.map((outcome) => {
    if (!isSound(outcome)) return outcome;
    if (!isSound(results)) return results;
    return results[next++] ?? new KeyweaveError('INTERNAL', 'a step has answered for too few');
  });
}
