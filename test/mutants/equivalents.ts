import { readFileSync } from 'node:fs';
import type { Mutant } from './mutators.ts';

/** A mutant that no test can or need find, and why. */
export interface Equivalent {
  readonly file: string;
  readonly mutator: string;
  /** The line that it touches, as it stands, without the space around it. */
  readonly line: string;
  /** What that line becomes; without it every mutant of this kind on such a line is meant. */
  readonly becomes?: string;
  readonly why: string;
}

export function loadEquivalents(path: string): Equivalent[] {
  const entries = JSON.parse(readFileSync(path, 'utf8')) as Equivalent[];
  for (const { file, mutator, line, why } of entries) {
    if (![file, mutator, line, why].every((member) => typeof member === 'string' && member !== ''))
      throw new Error(
        `${path}: an entry lacks file, mutator, line or why: ${JSON.stringify({ file, line })}`,
      );
  }
  return entries;
}

const isMeant = (entry: Equivalent, mutant: Mutant) =>
  entry.file === mutant.file &&
  entry.mutator === mutant.mutator &&
  entry.line === mutant.lineBefore &&
  (entry.becomes === undefined || entry.becomes === mutant.lineAfter);

/** Whether an entry excuses the mutant. */
export function isEquivalent(entries: readonly Equivalent[], mutant: Mutant): boolean {
  return entries.some((entry) => isMeant(entry, mutant));
}

/** Entries that excuse nothing any more: the code has changed under them. */
export function staleEquivalents(entries: readonly Equivalent[], mutants: readonly Mutant[]): Equivalent[] {
  return entries.filter((entry) => !mutants.some((mutant) => isMeant(entry, mutant)));
}
