import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { it } from 'node:test';

const FUZZ = resolve(import.meta.dirname, '../fuzz');

it('the list of decoders names every fuzz test, and each list of the corpus is read by one', () => {
  const files = readdirSync(FUZZ).filter((name) => name.endsWith('.test.ts'));
  const listed = readFileSync(join(FUZZ, 'README.md'), 'utf8').match(/[a-z0-9-]+\.test\.ts/g) ?? [];
  assert.deepEqual(listed.toSorted(), files.toSorted());
  const sources = files.map((name) => readFileSync(join(FUZZ, name), 'utf8')).join('');
  const unread = readdirSync(join(FUZZ, 'corpus')).filter(
    (name) => !sources.includes(`corpus('${name.replace('.json', '')}'`),
  );
  assert.deepEqual(unread, []);
});
