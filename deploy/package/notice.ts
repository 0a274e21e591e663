import { readFileSync, writeFileSync } from 'node:fs';
import { HOME } from '#common/service/installation.ts';
import { crates, npmPackages, type ThirdParty } from './third-party.ts';

/**
 * Writes NOTICE, or with `--check` says whether it is what the lock files
 * say: every third-party package with its licence.
 */
const PATH = `${HOME}NOTICE`;

function table(rows: readonly ThirdParty[]): string {
  return rows.map(({ name, version, licence }) => `  ${name} ${version}: ${licence}`).join('\n');
}

const notice = `Keyweave
Licensed under the Apache License, Version 2.0; see LICENSE.

It uses the third-party packages below, each under its own licence, whose text comes with the package.
This list is generated from the lock files by 'make notice'; 'make check' compares them.

Installed with it, from npm:

${table(npmPackages('command'))}

Compiled into the native KEM engine, where that is built ('make native'):

  liboqs 0.13 (within oqs-sys): MIT, with parts under the licences that its own files name
${table(crates())}

Used for development only, from npm:

${table(npmPackages('development'))}
`;

if (process.argv.includes('--check')) {
  if (notice !== readFileSync(PATH, 'utf8')) {
    process.stderr.write("NOTICE is out of date: run 'make notice'\n");
    process.exitCode = 1;
  }
} else writeFileSync(PATH, notice);
