import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { it } from 'node:test';
import { loadEquivalents } from './equivalents.ts';

const ROOT = resolve(import.meta.dirname, '../..');

it('every entry of equivalents.json names a line that its file still has', () => {
  const linesOf = new Map<string, ReadonlySet<string>>();
  const read = (file: string) => {
    const text = existsSync(join(ROOT, file)) ? readFileSync(join(ROOT, file), 'utf8') : '';
    return new Set(text.split('\n').map((line) => line.trim()));
  };
  const gone = loadEquivalents(join(import.meta.dirname, 'equivalents.json')).filter(({ file, line }) => {
    const lines = linesOf.get(file) ?? read(file);
    linesOf.set(file, lines);
    return !lines.has(line);
  });
  assert.deepEqual(
    gone.map(({ file, line }) => `${file}: ${line}`),
    [],
    'entries of lines that are gone: remove them or mend them',
  );
});
