import { HYBRIDIZATION_METHODS } from '#common/catalogue/methods.ts';
import { type KemReport, kemsOfThisMachine } from '../../pqc-source/main.ts';
import { printTable } from '../table.ts';

export interface AlgorithmsOptions {
  json?: boolean;
  /** true: the engine in use for each algorithm; 'all': every engine that has it. */
  bench?: boolean | string;
}

/** Prints the KEMs with their engine on this machine, and the methods. */
export async function runAlgorithms(options: AlgorithmsOptions): Promise<void> {
  const kems = await kemsOfThisMachine(measuredBy(options));
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

function measuredBy({ bench }: AlgorithmsOptions) {
  if (!bench) return 'none';
  return bench === 'all' ? 'all' : 'used';
}

function printKems(kems: readonly KemReport[]): void {
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

function printSpeeds(kems: readonly KemReport[]): void {
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
