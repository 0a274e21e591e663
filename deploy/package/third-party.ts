import { readFileSync } from 'node:fs';
import { HOME } from '#common/service/installation.ts';

const NATIVE = `${HOME}services/pqc-source/native/`;
const CRATE = /^\[\[package\]\]\nname = "(.+)"\nversion = "(.+)"$/gm;

/** A third-party package as the lock files name it; `licence` is an SPDX expression. */
export interface ThirdParty {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
}

/** What npm installs, by name: for the command, or for development only. @throws Error naming a package without a licence. */
export function npmPackages(kind: 'command' | 'development'): ThirdParty[] {
  const { packages } = JSON.parse(readFileSync(`${HOME}package-lock.json`, 'utf8')) as {
    packages: Record<string, { version?: string; license?: string; dev?: boolean }>;
  };
  return Object.entries(packages)
    .filter(([path, { dev = false }]) => path !== '' && dev === (kind === 'development'))
    .map(([path, { version = '', license }]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      if (!license) throw new Error(`package-lock.json knows no licence of ${name} ${version}`);
      return { name, version, licence: license };
    })
    .sort(byName);
}

/** What the native KEM engine is compiled of. Cargo.lock knows no licences: they are kept beside it. @throws Error naming a crate without one. */
export function crates(): ThirdParty[] {
  const licences = JSON.parse(readFileSync(`${NATIVE}licences.json`, 'utf8')) as Record<string, string>;
  return [...readFileSync(`${NATIVE}Cargo.lock`, 'utf8').matchAll(CRATE)]
    .filter(([, name]) => name !== 'liboqs-node')
    .map(([, name = '', version = '']) => {
      const licence = licences[name];
      if (!licence)
        throw new Error(`licences.json beside Cargo.lock lacks ${name}: see 'cargo metadata --locked'`);
      return { name, version, licence };
    })
    .sort(byName);
}

function byName(a: ThirdParty, b: ThirdParty): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
