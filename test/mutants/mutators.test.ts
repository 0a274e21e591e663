import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mutantsOf } from './mutators.ts';

/** The source as each mutant makes it, with the mutator's name. */
const mutated = (source: string) =>
  mutantsOf('x.ts', source).map(
    ({ mutator, start, end, after }) => `${mutator}: ${source.slice(0, start)}${after}${source.slice(end)}`,
  );

const cases: [what: string, source: string, expected: string[]][] = [
  [
    'tests and boundaries',
    'if (a < b) f();',
    ['condition: if (true) f();', 'condition: if (false) f();', 'boundary: if (a <= b) f();'],
  ],
  [
    'no loop that never ends',
    'while (on) f();',
    ['condition: while (false) f();', 'call removed: while (on) ;'],
  ],
  ['negation where it is no test', 'x(a === (b));', ['call removed: ;', 'negation: x(a !== (b));']],
  [
    'each operand alone',
    'if (a && (b || c)) { d.e = f; }',
    [
      'condition: if (false) { d.e = f; }',
      'logical: if ((a)) { d.e = f; }',
      'logical: if ((b || c)) { d.e = f; }',
      'logical: if (a && ((b))) { d.e = f; }',
      'logical: if (a && ((c))) { d.e = f; }',
      'assignment removed: if (a && (b || c)) { ; }',
    ],
  ],
  [
    'assignments',
    'x ??= y; n += 2;',
    [
      'assignment removed: ; n += 2;',
      'logical: x = y; n += 2;',
      'assignment removed: x ??= y; ;',
      'arithmetic: x ??= y; n -= 2;',
      'number: x ??= y; n += 3;',
    ],
  ],
  [
    'numbers: small ones, times, budgets',
    'const a = 31, B_MS = 250, c = 4096n;',
    [
      'number: const a = 32, B_MS = 250, c = 4096n;',
      'number: const a = 31, B_MS = 1, c = 4096n;',
      'number: const a = 31, B_MS = 250, c = 1n;',
    ],
  ],
  [
    'data, not words; reasons, not what is logged',
    "const l = Buffer.from('a label'); o.log.info('x', { y: 'z' }); throw new E('REASON', 'of a');",
    [
      "string: const l = Buffer.from(''); o.log.info('x', { y: 'z' }); throw new E('REASON', 'of a');",
      "string: const l = Buffer.from('a label'); o.log.info('x', { y: 'z' }); throw new E('', 'of a');",
    ],
  ],
  [
    'results, chains, truth, cases',
    'const f = (a) => ({ b: a?.b }); switch (g(!h?.[0])) { case K: break; }',
    [
      'return: const f = (a) => (undefined); switch (g(!h?.[0])) { case K: break; }',
      'optional chain: const f = (a) => ({ b: a.b }); switch (g(!h?.[0])) { case K: break; }',
      'boolean: const f = (a) => ({ b: a?.b }); switch (g((h?.[0]))) { case K: break; }',
      'optional chain: const f = (a) => ({ b: a?.b }); switch (g(!h[0])) { case K: break; }',
      'number: const f = (a) => ({ b: a?.b }); switch (g(!h?.[1])) { case K: break; }',
      'case: const f = (a) => ({ b: a?.b }); switch (g(!h?.[0])) { case Symbol(): break; }',
    ],
  ],
  [
    'blocks that do more than one thing',
    'try { f(); } finally { g(); h(); }',
    [
      'call removed: try { ; } finally { g(); h(); }',
      'block removed: try { f(); } finally {}',
      'call removed: try { f(); } finally { ; h(); }',
      'call removed: try { f(); } finally { g(); ; }',
    ],
  ],
  ['nothing of types', "import a from 'b'; type T = 'x' | 3; let y: T; export type { T } from 'c';", []],
  [
    'what a cast holds',
    'x = (y as number) + 1;',
    ['assignment removed: ;', 'arithmetic: x = (y as number) - 1;', 'number: x = (y as number) + 2;'],
  ],
];

describe('mutantsOf', () => {
  for (const [what, source, expected] of cases) {
    it(`plants ${what}`, () => {
      assert.deepEqual(mutated(source), expected);
    });
  }

  it('says where a mutant is, and what its line was and becomes', () => {
    const [mutant] = mutantsOf('a.ts', 'let a;\n  f(\n a);\n');
    assert.deepEqual(
      [mutant?.line, mutant?.lineBefore, mutant?.lineAfter, mutant?.before],
      [2, 'f(', ';', 'f(\n a);'],
    );
  });
});
