import { readFileSync } from 'node:fs';

/**
 * Loaded into every process of a node whose wall clock a test sets: adds the
 * milliseconds in the file that KEYWEAVE_TEST_CLOCK names to what `Date` says.
 * The file is read each time, so that all processes see a step at once. The
 * monotonic clock and all timers are left as they are, as when a machine's
 * clock is set.
 */
const file = process.env.KEYWEAVE_TEST_CLOCK;

if (file !== undefined) {
  const TrueDate = Date;
  const now = () => TrueDate.now() + Number(readFileSync(file, 'utf8'));
  globalThis.Date = new Proxy(TrueDate, {
    construct: (target, given, self) => Reflect.construct(target, given.length === 0 ? [now()] : given, self),
    apply: () => new TrueDate(now()).toString(),
    get: (target, name, self) => (name === 'now' ? now : Reflect.get(target, name, self)),
  });
}
