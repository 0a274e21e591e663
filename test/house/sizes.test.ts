import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { modulesOf } from './imports.ts';

const ROOT = resolve(import.meta.dirname, '../..');

const MOST_LINES = 400;
/** Sources of one folder; the tests that stand beside them do not count. */
const MOST_SOURCES = 12;

/** Those with too many lines. */
function longModules(paths: readonly string[], linesOf: (path: string) => number): string[] {
  return paths.filter((path) => linesOf(path) > MOST_LINES);
}

function fullFolders(paths: readonly string[]): string[] {
  const sources = paths.filter((path) => !path.startsWith('test/') && !path.endsWith('.test.ts'));
  return [...Map.groupBy(sources, (path) => dirname(path))]
    .filter(([, inside]) => inside.length > MOST_SOURCES)
    .map(([folder, inside]) => `${folder}: ${inside.length} sources`);
}

describe('the sizes of the house', () => {
  it(`no module has more than ${MOST_LINES} lines`, () => {
    const linesOf = (path: string) => readFileSync(join(ROOT, path), 'utf8').split('\n').length - 1;
    assert.deepEqual(longModules(modulesOf(ROOT), linesOf), []);
  });

  it(`no folder of services or certs has more than ${MOST_SOURCES} sources`, () => {
    assert.deepEqual(fullFolders(modulesOf(ROOT)), []);
  });

  it('are measured: one line or one source more is found', () => {
    const paths = Array.from({ length: MOST_SOURCES }, (_, i) => `services/x/${i}.ts`);
    assert.deepEqual(fullFolders([...paths, 'services/x/a.test.ts', 'services/x/y/b.ts']), []);
    assert.deepEqual(fullFolders([...paths, 'services/x/a.ts']), ['services/x: 13 sources']);
    assert.deepEqual(
      longModules(['a.ts', 'b.ts'], (path) => (path === 'a.ts' ? MOST_LINES : MOST_LINES + 1)),
      ['b.ts'],
    );
  });
});
