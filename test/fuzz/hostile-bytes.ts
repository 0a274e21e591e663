import assert from 'node:assert/strict';
import fc from 'fast-check';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Nothing but an error of ours may come out of hostile input; failed assertions pass through. */
export function onlyKeyweaveErrors(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    assert.ok(error instanceof KeyweaveError, `${error instanceof Error ? error.stack : error}`);
  }
}

/** One of `seeds` with some bytes replaced, put in or taken out, or cut off. */
export function mutated(seeds: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const place = fc.nat(1_000);
  const change = fc.record({
    at: place,
    how: fc.constantFrom('replace', 'insert', 'remove', 'repeat'),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('{}[]"\\,:?&=@/%\0'))),
  });
  return fc
    .record({
      seed: fc.constantFrom(...seeds),
      changes: fc.array(change, { maxLength: 6 }),
      keep: fc.option(place, { freq: 4 }),
    })
    .map(({ seed, changes, keep }) => {
      let bytes = [...seed];
      for (const { at, how, byte } of changes) {
        const i = at % (bytes.length + 1);
        if (how === 'replace') bytes[Math.min(i, Math.max(0, bytes.length - 1))] = byte;
        else if (how === 'insert') bytes.splice(i, 0, byte);
        else if (how === 'remove') bytes.splice(i, 1 + (byte % 4));
        else bytes = [...bytes.slice(0, i), ...bytes.slice(Math.max(0, i - 8))];
      }
      return Buffer.from(keep === null ? bytes : bytes.slice(0, keep % (bytes.length + 1)));
    });
}
