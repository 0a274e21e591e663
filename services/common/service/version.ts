import { readFileSync } from 'node:fs';
import { HOME } from './installation.ts';

const manifest = JSON.parse(readFileSync(`${HOME}package.json`, 'utf8')) as { version: string };

/** The package's version. */
export const VERSION: string = manifest.version;

/** Version of the agreement between nodes; both ends must speak the same. */
export const PROTOCOL_VERSION = 3;
