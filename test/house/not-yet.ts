import { readFileSync } from 'node:fs';

/** What does not keep the rules of the house yet; an entry that is mended must leave the list. */
export interface NotYet {
  /** As `path imports target`. */
  readonly imports: readonly string[];
  /** Paths of modules with more lines than a module may have. */
  readonly longFiles: readonly string[];
}

export const NOT_YET = JSON.parse(readFileSync(new URL('./not-yet.json', import.meta.url), 'utf8')) as NotYet;

/** What is wrong beside the listed, and what is listed and no longer wrong. */
export function compare(found: readonly string[], listed: readonly string[]) {
  return {
    wrong: found.filter((each) => !listed.includes(each)),
    mended: listed.filter((each) => !found.includes(each)),
  };
}
