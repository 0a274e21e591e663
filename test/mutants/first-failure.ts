import { writeSync } from 'node:fs';
import type { TestEvent } from 'node:test/reporters';

/** A reporter that ends the process at the first test that fails: one is enough to find a mutant. */
export default async function* firstFailure(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if (type !== 'test:fail' || data.todo !== undefined) {
      yield '';
      continue;
    }
    const { error } = data.details as { error?: Error & { cause?: unknown } };
    // Written at once, since the process ends before a stream would be.
    writeSync(1, `${data.name}: ${(error?.cause as Error | undefined)?.message ?? error?.message}\n`);
    process.exit(1);
  }
}
