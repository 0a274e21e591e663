import { printTable } from '../../services/cli/table.ts';

/** Median, tails and maximum of samples, in the samples' unit. */
export function percentiles(samples: readonly number[]) {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: at(1) };
}

export function median(values: readonly number[]): number {
  return percentiles(values).p50;
}

/** What one case has measured: rows by label, figures by heading; every row has the same headings. */
export interface FigureTable {
  readonly title: string;
  readonly rows: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Printed beneath, of the last run. */
  readonly note?: string;
}

/** The medians of the same tables of several runs. */
export function medianTables(runs: readonly (readonly FigureTable[])[]): FigureTable[] {
  const last = runs.at(-1) ?? [];
  return last.map((table) => {
    const same = runs.flatMap((tables) => tables.filter(({ title }) => title === table.title));
    const rows = Object.entries(table.rows).map(([label, row]) => {
      const figures = Object.keys(row).map((heading) => {
        const values = same.flatMap(({ rows }) => rows[label]?.[heading] ?? []);
        return [heading, median(values)] as const;
      });
      return [label, Object.fromEntries(figures)] as const;
    });
    return { ...table, rows: Object.fromEntries(rows) };
  });
}

/** Tables of one checkout, or of two with the ratios of the first to the other. */
export function printFigures(own: readonly FigureTable[], other?: readonly FigureTable[]): void {
  for (const table of own) {
    const compared = other?.find(({ title }) => title === table.title);
    const headings = Object.keys(Object.values(table.rows)[0] ?? {});
    const lines = Object.entries(table.rows).flatMap(([label, row]) => {
      const line = headings.map((heading) => shown(row[heading]));
      const then = compared?.rows[label];
      if (!then) return [[label, ...line]];
      return [
        [label, ...line],
        ['  compared', ...headings.map((heading) => shown(then[heading]))],
        ['  ratio', ...headings.map((heading) => ratio(row[heading], then[heading]))],
      ];
    });
    process.stdout.write(`\n${table.title}\n`);
    printTable(['', ...headings], lines);
    if (table.note) process.stdout.write(`${table.note}\n`);
    if (compared?.note) process.stdout.write(`compared:\n${compared.note}\n`);
  }
}

/** Three digits that say something. */
function shown(value = Number.NaN): string {
  if (Number.isNaN(value)) return '-';
  return value.toFixed(value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);
}

function ratio(now = Number.NaN, then = Number.NaN): string {
  return then === 0 || Number.isNaN(now / then) ? '-' : (now / then).toFixed(2);
}
