import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** The package's version. */
export const VERSION: string = manifest.version;

/** Version of the agreement between nodes; both ends must speak the same. */
export const PROTOCOL_VERSION = 2;
