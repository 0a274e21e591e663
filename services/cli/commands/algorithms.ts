import { KEM_ALGORITHMS, KEM_ENGINE_NAMES, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { HYBRIDIZATION_METHODS } from '#common/catalogue/methods.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { EngineSet } from '../../pqc-source/engine-set.ts';
import { createEngines } from '../../pqc-source/engines/built-in-engines.ts';
import { type KemSpeed, measureKem } from '../../pqc-source/engines/kem-speed.ts';
import { printTable } from '../table.ts';

/** Milliseconds spent on measuring one algorithm in one engine. */
const BENCH_BUDGET_MS = 300;

export interface AlgorithmsOptions {
  json?: boolean;
  /** true: the engine in use for each algorithm; 'all': every engine that has it. */
  bench?: boolean | string;
}

/** Prints the KEMs with their engine on this machine, and the methods. */
export async function runAlgorithms(options: AlgorithmsOptions): Promise<void> {
  const available = createEngines(KEM_ENGINE_NAMES);
  const engines = new EngineSet(available, silentLog);
  await engines.selfTest();
  const kems = [];
  for (const row of KEM_ALGORITHMS) {
    const engine = engines.engineOf(row);
    const measured = available.engines.filter(
      (other) =>
        other.supports(row) &&
        row.engines.includes(other.name) &&
        (options.bench === 'all' || other === engine),
    );
    const microseconds: Record<string, KemSpeed> = {};
    if (options.bench)
      for (const other of measured) microseconds[other.name] = await measureKem(other, row, BENCH_BUDGET_MS);
    kems.push({
      ...row,
      engine: engine?.name ?? null,
      unavailable: engines.unavailable(row),
      ...(options.bench ? { microseconds } : {}),
    });
  }
  await engines.close();
  const methods = HYBRIDIZATION_METHODS.map(({ name, compatible }) => ({ name, compatible }));
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ kems, methods }, undefined, 2)}\n`);
    return;
  }
  if (options.bench) printSpeeds(kems);
  else printKems(kems);
  const usable = kems.filter((row) => row.engine !== null);
  process.stdout.write(`\n${usable.length} of ${kems.length} KEMs usable.\n`);
  for (const reason of new Set(kems.filter((row) => row.engine === null).map((row) => row.unavailable)))
    process.stdout.write(`  ${reason}\n`);
  process.stdout.write(`Methods: ${methods.map((row) => row.name).join(', ')}\n`);
}

type Row = KemAlgorithm & { engine: string | null; microseconds?: Record<string, KemSpeed> };

function printKems(kems: readonly Row[]): void {
  printTable(
    ['KEM', 'level', 'public key', 'ciphertext', 'secret', 'engine', 'revision', 'also called', 'note'],
    kems.map((row) => [
      row.name,
      row.nistLevel,
      row.publicKeyBytes,
      row.ciphertextBytes,
      row.sharedSecretBytes,
      row.engine ?? 'unavailable',
      row.revision,
      row.aliases.join(' '),
      row.note,
    ]),
  );
  process.stdout.write('Sizes in bytes.\n');
}

function printSpeeds(kems: readonly Row[]): void {
  printTable(
    ['KEM', 'engine', 'key pair', 'encapsulation', 'decapsulation'],
    kems.flatMap((row) =>
      Object.entries(row.microseconds ?? {}).map(([engine, speed]) => [
        row.name,
        engine === row.engine ? `${engine} (in use)` : engine,
        ...[speed.generate, speed.encapsulate, speed.decapsulate].map(roundSpeed),
      ]),
    ),
  );
  process.stdout.write('Microseconds for one operation, in batches.\n');
}

function roundSpeed(microseconds: number): string {
  return microseconds < 100 ? microseconds.toFixed(1) : microseconds.toFixed(0);
}
