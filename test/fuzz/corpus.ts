import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

/**
 * Inputs of a decoder that once were, or easily could be, trouble: a list in
 * `corpus/<name>.json`. Tried before anything else, and spoilt further.
 *
 * @param encoding how the list writes bytes.
 */
export function corpus(name: string, encoding: 'utf8' | 'hex' = 'utf8'): readonly Buffer[] {
  const texts: string[] = JSON.parse(readFileSync(`${import.meta.dirname}/corpus/${name}.json`, 'utf8'));
  assert.ok(
    texts.length > 0 && new Set(texts).size === texts.length,
    `corpus/${name}.json: none, or one twice`,
  );
  return texts.map((text) => {
    const bytes = Buffer.from(text, encoding);
    assert.equal(bytes.toString(encoding), text, `corpus/${name}.json: ${text} is no ${encoding}`);
    return bytes;
  });
}
