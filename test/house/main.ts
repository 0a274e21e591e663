/** Imports that go where they must not: `make lint` runs it beside biome, which finds the circles. */
import { resolve } from 'node:path';
import { importBreaches, inWords } from './import-rules.ts';

const found = importBreaches(resolve(process.argv[2] ?? '.'));
for (const breach of found) console.error(inWords(breach));
if (found.length > 0) process.exitCode = 1;
