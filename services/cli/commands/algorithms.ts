import { KEM_ALGORITHMS } from '#common/algorithms/kem-algorithms.ts';
import { HYBRIDIZATION_METHODS } from '#common/hybridization/method-table.ts';
import { createEngines } from '../../pqc-source/engines/built-in-engines.ts';
import { printTable } from '../table.ts';

/** Prints the KEMs with their engine on this machine, and the methods. */
export async function runAlgorithms(options: { json?: boolean }): Promise<void> {
  const engines = createEngines();
  const kems = KEM_ALGORITHMS.map((row) => ({
    ...row,
    engine: engines.find((engine) => engine.supports(row))?.name ?? null,
  }));
  const methods = HYBRIDIZATION_METHODS.map(({ name, compatible }) => ({ name, compatible }));
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ kems, methods }, undefined, 2)}\n`);
    return;
  }
  printTable(
    ['KEM', 'level', 'public key', 'ciphertext', 'secret', 'engine', 'revision', 'note'],
    kems.map((row) => [
      row.name,
      row.nistLevel,
      row.publicKeyBytes,
      row.ciphertextBytes,
      row.sharedSecretBytes,
      row.engine ?? 'unavailable',
      row.revision,
      row.note,
    ]),
  );
  const usable = kems.filter((row) => row.engine !== null).length;
  process.stdout.write(`\n${usable} of ${kems.length} KEMs usable. Sizes in bytes.\n`);
  process.stdout.write(`Methods: ${methods.map((row) => row.name).join(', ')}\n`);
}
