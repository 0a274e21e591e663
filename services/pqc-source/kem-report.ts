import { KEM_ALGORITHMS, type KemAlgorithm, type KemEngineName } from '#common/catalogue/kems.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { EngineSet } from './engine-set.ts';
import type { AvailableEngines } from './engines/built-in-engines.ts';
import { type KemSpeed, measureKem } from './engines/measure-kem.ts';

/** Milliseconds spent on measuring one algorithm in one engine. */
const BUDGET_MS = 300;

/** Which engines are measured: none, the one in use for each algorithm, or every one that has it. */
export type Measured = 'none' | 'used' | 'all';

/** A KEM, and what becomes of it on this machine. */
export interface KemReport extends KemAlgorithm {
  /** The engine in use; null where none has it. */
  readonly engine: KemEngineName | null;
  /** Why it cannot be had and what to do; empty when it can. */
  readonly unavailable: string;
  /** By engine; only where something was measured. */
  readonly microseconds?: Readonly<Record<string, KemSpeed>>;
}

/** Every KEM of the catalogue, in its order. Tests the engines first and closes them at the end. */
export async function reportKems(available: AvailableEngines, measured: Measured): Promise<KemReport[]> {
  const engines = new EngineSet(available, silentLog);
  await engines.selfTest();
  const reports: KemReport[] = [];
  for (const row of KEM_ALGORITHMS) {
    const engine = engines.engineOf(row);
    const microseconds: Record<string, KemSpeed> = {};
    for (const other of available.engines) {
      if (measured === 'none' || !other.supports(row) || !row.engines.includes(other.name)) continue;
      if (measured === 'all' || other === engine)
        microseconds[other.name] = await measureKem(other, row, BUDGET_MS);
    }
    reports.push({
      ...row,
      engine: engine?.name ?? null,
      unavailable: engines.unavailable(row),
      ...(measured === 'none' ? {} : { microseconds }),
    });
  }
  await engines.close();
  return reports;
}
