import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { printTable } from './table.ts';

function printed(t: TestContext, ...table: Parameters<typeof printTable>): string {
  const write = t.mock.method(process.stdout, 'write', () => true);
  printTable(...table);
  const said = write.mock.calls.map((call) => String(call.arguments[0])).join('');
  write.mock.restore();
  return said;
}

describe('printTable', () => {
  it('makes each column as wide as its widest cell, and ends no line in blanks', (t) => {
    assert.equal(
      printed(
        t,
        ['KEM', 'level', 'note'],
        [
          ['ML-KEM-768', 3, ''],
          ['x', 10, 'slow'],
        ],
      ),
      [
        'KEM         level  note',
        '----------  -----  ----',
        'ML-KEM-768  3',
        'x           10     slow',
        '',
      ].join('\n'),
    );
  });

  it('prints headings where there are no rows', (t) => {
    assert.equal(printed(t, ['a', 'bcd'], []), 'a  bcd\n-  ---\n');
  });
});
