/** Prints rows under headings. */
export function printTable(...table: Parameters<typeof tableText>): void {
  process.stdout.write(`${tableText(...table)}\n`);
}

/** Rows under headings, each column as wide as its widest cell. */
export function tableText(
  headings: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const all = [headings, ...rows].map((row) => row.map(String));
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  const [head = [], ...body] = all;
  return [line(head), rule, ...body.map(line)].join('\n');
}
